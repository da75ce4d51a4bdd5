"""Comparisons of two models as tables and sentences."""

from collections.abc import Sequence
from pathlib import Path

from eval.intervals import Interval
from eval.ranking.comparison import Comparison
from eval.report.escapes import markdown_text
from eval.report.renderers import to_csv, to_markdown
from eval.report.table import NONE, Column, Table
from eval.report.tables import write_files
from eval.words import visible

_COLUMNS = (
    Column("dataset", "Set", left=True),
    Column("first", "Model", left=True),
    Column("second", "Compared with", left=True),
    Column("psnr_difference_db", "PSNR", "dB more"),
    Column("runtime_ratio", "Time", "x"),
)


def comparison_table(found: Sequence[Comparison]) -> Table:
    """Return one row a pair and set: the difference in PSNR and the ratio of runtimes, each with its 95% interval."""
    rows = [(its.dataset, its.first, its.second, _text(its.psnr, 0, "+"), _text(its.runtime, 1)) for its in found]
    return Table.of(_COLUMNS, rows)


def _text(interval: Interval | None, equal: float, sign: str = "") -> str:
    return " ".join(interval.texts(equal, sign)) if interval else NONE


def sentences(found: Sequence[Comparison]) -> list[str]:
    """Return the verdict of each pair, and once each what it rests on."""
    notes = dict.fromkeys(note for its in found for note in its.notes)
    return [*(visible(its.sentence) for its in found), *(f"Note: {visible(note)}." for note in notes)]


def write_comparison(found: Sequence[Comparison], folder: Path) -> list[Path]:
    """Write compare.md and compare.csv."""
    listing = "\n".join(f"- {markdown_text(line)}" for line in sentences(found))
    page = f"# Comparison\n\n{to_markdown(comparison_table(found))}\n\n{listing}\n"
    unrounded = [
        {"dataset": its.dataset, "first": its.first, "second": its.second} | its.figures | {"verdict": its.sentence}
        for its in found
    ]
    table = Table.headed(unrounded[0], [row.values() for row in unrounded])
    return write_files(folder, {"compare.md": page, "compare.csv": to_csv(table)})
