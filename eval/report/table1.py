"""The factsheet's Table 1: measured beside published, for the terminal, Markdown, CSV and LaTeX."""

import csv
import io
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich import box
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from eval.report.latex import booktabs, figure, latex, ruled

TABLE1 = Path(__file__).with_suffix(".toml")


class PublishedSet(BaseModel):
    """One row of the published table, and where its images are to be had."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dataset: str
    published: dict[str, float]
    obtain: str


@dataclass(frozen=True)
class Cell:
    """One figure: measured in dB (None if it was not, then ``missing`` says why) and published (None if it is not)."""

    set_name: str
    model: str
    measured_db: float | None
    published_db: float | None
    missing: str | None = None

    @property
    def texts(self) -> tuple[str, str, str]:
        """Measured, published, and their difference at the printed two decimals; a dash where there is none."""
        measured = "-" if self.measured_db is None else f"{self.measured_db:.2f}"
        published = "-" if self.published_db is None else f"{self.published_db:.2f}"
        both = self.measured_db is not None and self.published_db is not None
        return measured, published, f"{float(measured) - float(published):+.2f}" if both else "-"


def read_table1() -> tuple[tuple[str, ...], tuple[PublishedSet, ...]]:
    """Return the table's models and its sets."""
    content = tomllib.loads(TABLE1.read_text(encoding="utf-8"))
    return tuple(content["models"]), tuple(PublishedSet.model_validate(row) for row in content["set"])


def terminal_table(cells: Sequence[Cell]) -> Table:
    """Return the table for a terminal: one row a set, three columns a model."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(Text("PSNR\n[dB]"))
    for model in _models(cells):
        for title in (f"{model}\nmeas.", "\npubl.", "\ndiff."):
            table.add_column(Text(title), justify="right", no_wrap=True)
    for name, row in _rows(cells).items():
        table.add_row(Text(name), *(text for cell in row for text in cell.texts))
    return table


def notes(cells: Sequence[Cell]) -> list[str]:
    """Return a sentence for each set and reason why cells were not measured."""
    models_by_reason: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.missing:
            models_by_reason.setdefault((cell.set_name, cell.missing), []).append(cell.model)
    return [
        f"{set_name}, {', '.join(models)}: not measured: {reason}"
        for (set_name, reason), models in models_by_reason.items()
    ]


def markdown_table(cells: Sequence[Cell]) -> str:
    """Return a GitHub table with one column a model, "measured (published, difference)"."""
    headers = ["PSNR [dB]", *_models(cells)]
    rows = [[name, *map(_together, row)] for name, row in _rows(cells).items()]
    aligned = ("left", *["right"] * (len(headers) - 1))
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=aligned)
    listing = "\n".join(f"- {note}" for note in notes(cells))
    return f"{table}\n\nMeasured (published, difference).\n\n{listing}".rstrip() + "\n"


def _together(cell: Cell) -> str:
    measured, published, difference = cell.texts
    return f"{measured} ({published}, {difference})"


def csv_table(cells: Sequence[Cell]) -> str:
    """Return one line a cell; the measured figure is not rounded."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("set", "model", "measured_psnr_db", "published_psnr_db", "missing"))
    for cell in cells:
        writer.writerow((cell.set_name, cell.model, cell.measured_db, cell.published_db, cell.missing))
    return buffer.getvalue()


def latex_table(cells: Sequence[Cell]) -> str:
    """Return a booktabs table: two columns a model, measured and published."""
    headers = ["PSNR [dB]", *(f"{model}, {kind}" for model in _models(cells) for kind in ("measured", "published"))]
    rows = [
        [latex(name), *(figure(text) for cell in row for text in cell.texts[:2])] for name, row in _rows(cells).items()
    ]
    return ruled(booktabs([latex(heading) for heading in headers], rows)) + "\n"


def _models(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.model for cell in cells))


def _rows(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    rows: dict[str, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.set_name, []).append(cell)
    return rows
