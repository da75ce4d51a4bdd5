"""Tables in the form of the challenge's report: best first, each figure with its rank, others below a rule."""

from collections.abc import Sequence

from eval.ranking.scoring import competition_ranks
from eval.report.latex import booktabs, figure, ruled
from eval.report.latex_text import latex_text
from eval.report.page.board import Board, Heading, Row
from eval.report.page.selection import RAN

_TEXTS = frozenset({"label", "team", "edition", "state", "rank"})
_LEFT_OUT = frozenset({"ssim", "p90_ms", "ratio"})


def challenge_tables(boards: Sequence[Board]) -> str:
    """Return one ``table*`` a set, protocol and device; they need the package booktabs."""
    return "\n".join(_table(board, number) for number, board in enumerate(boards, 1))


def _table(board: Board, number: int) -> str:
    headings = [heading for heading in board.headings if heading.key not in _TEXTS | _LEFT_OUT]
    ranked = [row for row in board.rows if _is_ranked(row, board)]
    if board.ranked.rows:
        ranked.sort(key=lambda row: row.cell("rank").value)
    others = [row for row in board.rows if row.record.complete and row not in ranked]
    figures = list(zip(*(_with_ranks(heading, ranked) for heading in headings), strict=True))
    rows = [[*_names(row), *cells] for row, cells in zip(ranked, figures, strict=True)]
    rows += [[*_names(row), *(figure(row.cell(heading.key).text) for heading in headings)] for row in others]
    titles = [
        "Team",
        "Model",
        *(latex_text(f"{its.title} [{its.unit}]" if its.unit else its.title) for its in headings),
    ]
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"  \centering",
            f"  \\caption{{{_caption(board)}}}",
            f"  \\label{{tab:results{number}}}",
            _ruled_after(booktabs(titles, rows), len(ranked) if others else 0),
            r"\end{table*}",
            "",
        ]
    )


def _is_ranked(row: Row, board: Board) -> bool:
    if not row.record.complete or row.state != RAN:
        return False
    judged = board.ranked.rows.get(row.record.model.label)
    return not board.ranked.rows or bool(judged and judged.has_place and not judged.is_baseline)


def _names(row: Row) -> list[str]:
    return [latex_text(row.cell("team").text), latex_text(row.record.model.name)]


def _with_ranks(heading: Heading, rows: Sequence[Row]) -> list[str]:
    """Return a column's figures, each with its rank among the rows as a subscript, the best ones bold."""
    texts = [figure(row.cell(heading.key).text) for row in rows]
    values = [row.cell(heading.key).value for row in rows]
    if heading.lower_is_better is None or heading.key == "score" or None in values:
        return texts
    ranks = competition_ranks([value if heading.lower_is_better else -value for value in values])
    marked = [rf"\textbf{{{text}}}" if rank == 1 else text for text, rank in zip(texts, ranks, strict=True)]
    return [f"{text}$_{{({rank})}}$" for text, rank in zip(marked, ranks, strict=True)]


def _caption(board: Board) -> str:
    conditions, edition = board.conditions, board.ranked.edition
    where = f"{conditions.dataset}, {board.rows[0].record.dataset.num_images} images, protocol {conditions.protocol}"
    text = f"Results on {where}{f', on {conditions.machine}' if conditions.machine else ''}."
    if board.ranked.rows:
        text += f" Ranked by the rules of {edition.year}; below the rule: the baseline, and who is not ranked."
    failed = [row.label for row in board.rows if not row.record.complete]
    if failed:
        text += f" Not measured: {', '.join(failed)}."
    text += " In brackets: rank in each figure. FLOPs are multiply-adds of one 256x256 input."
    return latex_text(text)


def _ruled_after(table: str, after: int) -> str:
    """Set top and bottom rules of a table, and one more after so many rows."""
    lines = ruled(table).split("\n")
    if after:
        lines.insert(lines.index(r"\midrule") + 1 + after, r"\midrule")
    return "\n".join(f"  {line}" for line in lines)
