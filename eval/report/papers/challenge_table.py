"""Tables in the form of the challenge's report: best first, each figure with its rank, others below a rule."""

from collections.abc import Sequence
from dataclasses import replace
from textwrap import indent

from eval.metrics.registry import METRICS
from eval.ranking.scoring import competition_ranks
from eval.report.board import Board, Row
from eval.report.escapes import latex
from eval.report.renderers import to_latex
from eval.report.selection import RAN
from eval.report.table import BEST, Cell, Column, Table, are_alike
from eval.words import counted, visible

# Of the metrics the challenge prints the first, PSNR.
_LEFT_OUT = frozenset({"rank", "p90_ms", "kernels_ms", "ratio", *(row.key for row in [*METRICS.values()][1:])})


def challenge_tables(boards: Sequence[Board]) -> str:
    """Return one ``table*`` a set, protocol and device; they need the package booktabs."""
    return "\n".join(_table(board, number) for number, board in enumerate(boards, 1))


def _table(board: Board, number: int) -> str:
    headings = [its for its in board.headings if not its.left and its.key not in _LEFT_OUT]
    ranked = [row for row in board.rows if _is_ranked(row, board)]
    if board.ranked.rows:
        ranked.sort(key=lambda row: row.figure("rank") or 0)
    others = [row for row in board.rows if row.record.complete and row not in ranked]
    columns = (_with_ranks(heading, ranked) for heading in headings)
    rows = [(*names, *cells) for names, *cells in zip(map(_names, ranked), *columns, strict=True)]
    rows += [(*_names(row), *(_plain(row, heading) for heading in headings)) for row in others]
    table = Table((Column("team", "Team", left=True), Column("model", "Model"), *headings), tuple(rows))
    heads = r"\centering", rf"\caption{{{_caption(board, table, len(others))}}}", rf"\label{{tab:results{number}}}"
    body = "\n".join((*heads, to_latex(table, len(ranked) if others else 0)))
    return f"\\begin{{table*}}[t]\n{indent(body, '  ')}\n\\end{{table*}}\n"


def _is_ranked(row: Row, board: Board) -> bool:
    if row.state != RAN or not row.record.model.is_network:
        return False
    judged = board.ranked.rows.get(row.record.model.label)
    return not board.ranked.rows or bool(judged and judged.has_place and not judged.is_baseline)


def _names(row: Row) -> tuple[Cell, Cell]:
    name = visible(row.record.model.short_name)
    return row.cell("team"), Cell(name, name)


def _plain(row: Row, heading: Column) -> Cell:
    return replace(row.cell(heading.key), mark="")


def _with_ranks(heading: Column, rows: Sequence[Row]) -> list[Cell]:
    """Return a column's cells, each with its rank among the rows, the best ones marked."""
    cells = [_plain(row, heading) for row in rows]
    values = [value for row in rows if (value := row.figure(heading.key)) is not None]
    told = heading.higher_is_better is not None and heading.key != "score"
    if not told or len(values) < len(rows) or not are_alike(cells):
        return cells
    ranks = competition_ranks([-value if heading.higher_is_better else value for value in values])
    return [replace(cell, mark=BEST * (rank == 1), rank=rank) for cell, rank in zip(cells, ranks, strict=True)]


def _caption(board: Board, table: Table, below: int) -> str:
    its, edition = board.conditions, board.ranked.edition
    images = counted(board.rows[0].record.dataset.num_images, "image")
    where = f"{visible(its.dataset)}, {images}, protocol {its.protocol}"
    text = f"Results on {where}{f', on {visible(its.machine)}' if its.machine else ''}."
    if board.ranked.rows and edition and len(table.rows) > below:
        text += f" Ranked by the rules of {edition.year}"
        text += "; below the rule: the baseline, and who is not ranked." if below else "."
    failed = [row.label for row in board.rows if not row.record.complete]
    if failed:
        text += f" Not measured: {', '.join(failed)}."
    if any(cell.rank for row in table.rows for cell in row):
        text += " In brackets: rank in each figure."
    text += " FLOPs are multiply-adds of one 256x256 input."
    return latex(text)
