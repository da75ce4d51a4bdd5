"""A table for the terminal, and as Markdown, CSV, LaTeX and HTML; each escapes what its form would read as markup."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import rich.table
from rich import box
from rich.console import OverflowMethod
from rich.text import Text

from eval.report.escapes import inert, latex, latex_figure, markdown_text
from eval.report.table import BEST, SECOND, Cell, Column, Table, Value
from eval.words import written_lines, written_out

# Where a heading is broken in a terminal.
_BREAK = re.compile(r" (?=\[|of )|(?<=_)|(?<=\bGate) ")
_MARKDOWN_MARKS = {BEST: "**", SECOND: "*"}
_LATEX_MARKS = {BEST: r"\textbf", SECOND: r"\underline"}
_HTML_MARKS = {BEST: "b", SECOND: "u"}
_TERMINAL_MARKS = {BEST: "bold", SECOND: "underline"}
# So many characters more than its heading a column's source is wide, at least.
_ROOM = 2


def to_terminal(table: Table, overflow: OverflowMethod = "ellipsis", **options: Any) -> rich.table.Table:
    """Return a table that ``rich`` prints, by options of its own; the best figure is bold, the second underlined.

    ``overflow`` is what becomes of a text that is too long; names are broken, so that no figure is cut for them.
    """
    drawn = rich.table.Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), **options)
    for column in table.columns:
        justify = "left" if column.left else "right"
        heading = Text(written_lines(_BREAK.sub("\n", column.heading)))
        cut = "fold" if column.left else overflow
        drawn.add_column(heading, justify=justify, no_wrap=not (column.wraps or column.left), overflow=cut)
    for row in table.rows:
        drawn.add_row(*(Text(written_lines(cell.text), _TERMINAL_MARKS.get(cell.mark, "")) for cell in row))
    return drawn


def to_markdown(table: Table) -> str:
    """Return a GitHub table; the best figure is bold, the second in italics."""
    headings = [markdown_text(its.title) + f" [{its.unit}]" * bool(its.unit) for its in table.columns]
    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    widths = _widths(headings, rows)
    dashes = zip(table.columns, ("-" * (width + 1) for width in widths), strict=True)
    rules = [f":{rule}" if column.left else f"{rule}:" for column, rule in dashes]
    heading, *lines = (_aligned(cells, table.columns, widths) for cells in (headings, *rows))
    return "\n".join(f"|{'|'.join(cells)}|" for cells in (heading, rules, *lines))


def _markdown_cell(cell: Cell) -> str:
    mark = _MARKDOWN_MARKS.get(cell.mark, "")
    text = " ".join(cell.text.splitlines()).strip()
    return f"{mark}{markdown_text(text) if isinstance(cell.value, str) else text}{mark}"


def _widths(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    columns = zip(headings, *rows, strict=True)
    return [max([len(heading) + _ROOM, *map(len, cells)]) for heading, *cells in columns]


def _aligned(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    return [
        f" {cell.ljust(width) if column.left else cell.rjust(width)} "
        for cell, column, width in zip(cells, columns, widths, strict=True)
    ]


def to_csv(table: Table) -> str:
    """Return one line a row: unrounded figures in base units under the columns' keys."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_csv_cell(column.key) for column in table.columns])
    writer.writerows([_csv_cell(cell.value) for cell in row] for row in table.rows)
    return buffer.getvalue()


def _csv_cell(value: Value) -> Value:
    return inert(written_out(value)) if isinstance(value, str) else value


def to_latex(table: Table, rule_after: int = 0) -> str:
    """Return a booktabs table; the best figure is bold, the second underlined.

    One more rule stands after so many rows, none for 0.
    """
    headings = [latex(column.heading) for column in table.columns]
    rows = [[_latex_cell(cell) for cell in row] for row in table.rows]
    widths = _widths(headings, rows)
    lines = [f"{'&'.join(_aligned(cells, table.columns, widths))}\\\\" for cells in (headings, *rows)]
    if rule_after:
        lines.insert(1 + rule_after, r"\midrule")
    preamble = "".join("l" if column.left else "r" for column in table.columns)
    begin, end = rf"\begin{{tabular}}{{{preamble}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end])


def _latex_cell(cell: Cell) -> str:
    printed = latex(cell.text) if isinstance(cell.value, str) else latex_figure(cell.text)
    if cell.mark:
        printed = f"{_LATEX_MARKS[cell.mark]}{{{printed}}}"
    return printed if cell.rank is None else f"{printed}$_{{({cell.rank})}}$"


def to_html(table: Table, css_class: str = "") -> str:
    """Return a plain ``<table>``; the first column heads its rows, the best figure is bold, the second underlined."""
    named = f' class="{escape(css_class)}"' if css_class else ""
    heads = "".join(map(_html_heading, table.columns))
    rows = "\n".join(f"<tr>{''.join(_html_cells(row, table.columns))}</tr>" for row in table.rows)
    return f"<table{named}>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _html_heading(column: Column) -> str:
    unit = f" <small>{escape(column.unit)}</small>" if column.unit else ""
    return f'<th scope="col"{_number(column)}>{escape(written_out(column.title))}{unit}</th>'


def _html_cells(row: Sequence[Cell], columns: Sequence[Column]) -> Iterator[str]:
    for place, (cell, column) in enumerate(zip(row, columns, strict=True)):
        text = escape(written_lines(cell.text))
        if cell.mark:
            text = f"<{_HTML_MARKS[cell.mark]}>{text}</{_HTML_MARKS[cell.mark]}>"
        yield f"<td{_number(column)}>{text}</td>" if place else f'<th scope="row">{text}</th>'


def _number(column: Column) -> str:
    return "" if column.left else ' class="number"'
