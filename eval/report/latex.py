"""Tables for papers: booktabs, best figure bold, second underlined."""

import re
from collections.abc import Sequence

from tabulate import tabulate

from eval.records.record import Record
from eval.report.columns import Column, columns_of, visible

_INFINITE = re.compile(r"(-?)\binf\b")
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def latex(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return "".join(_SPECIAL.get(char, f"\\{char}" if char in "#$%&_{}" else char) for char in text)


def figure(text: str) -> str:
    """Return a printed figure as LaTeX, an infinite one by its sign."""
    return _INFINITE.sub(r"$\1\\infty$", latex(text))


def booktabs(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """Return a booktabs table of cells that are LaTeX already; the column ``left`` left, the others right."""
    aligned = ["left" if column == left else "right" for column in range(len(headers))]
    return tabulate(rows, headers, tablefmt="latex_raw", disable_numparse=True, colalign=aligned).replace(
        r"\hline", r"\midrule"
    )


def ruled(table: str) -> str:
    """Return a booktabs table with its first and last rule as those of top and bottom."""
    lines = table.split("\n")
    rules = [index for index, line in enumerate(lines) if line == r"\midrule"]
    lines[rules[0]], lines[rules[-1]] = r"\toprule", r"\bottomrule"
    return "\n".join(lines)


def leaderboard(records: Sequence[Record]) -> str:
    """Return one table of records of one set, protocol and device."""
    columns = columns_of(records)
    headers = ["Model", *(latex(column.heading) for column in columns)]
    marked = [_marked(column, records) for column in columns]
    rows = [[latex(visible(record.model.label)), *cells] for record, *cells in zip(records, *marked, strict=True)]
    return ruled(booktabs(headers, rows)) + "\n"


def _marked(column: Column, records: Sequence[Record]) -> list[str]:
    """Return a column's cells, the best one bold and the second underlined; equal figures share the mark."""
    texts = [figure(column.text(record)) for record in records]
    values = [next(iter(column.figures(record).values())) for record in records]
    taken = sorted({value for value in values if value is not None}, reverse=column.higher_is_better is True)
    if column.higher_is_better is None or len(taken) < 2:
        return texts
    marks = dict(zip(taken, (r"\textbf", r"\underline"), strict=False))
    return [f"{marks[value]}{{{text}}}" if value in marks else text for text, value in zip(texts, values, strict=True)]
