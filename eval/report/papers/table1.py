"""The factsheet's Table 1: measured beside published, for the terminal, Markdown, CSV and LaTeX."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rich.table

from eval.frozen import Frozen
from eval.report.renderers import to_csv, to_latex, to_markdown, to_terminal
from eval.report.table import Column, Table, number
from eval.toml_files import read_toml

TABLE1 = Path(__file__).with_suffix(".toml")
_SET = Column("set", "PSNR", "dB", left=True)


class PublishedSet(Frozen):
    """One row of the published table: its set, how many images that has, and where they are to be had."""

    name: str
    dataset: str
    images: int
    published: dict[str, float]
    obtain: str


class _Table1(Frozen):
    models: tuple[str, ...]
    set: tuple[PublishedSet, ...]


@dataclass(frozen=True)
class Cell:
    """One figure: measured in dB (None if it was not, then ``missing`` says why) and published (None if it is not).

    ``unlike`` are sentences on why the two are not of the same.
    """

    set_name: str
    model: str
    measured_db: float | None
    published_db: float | None
    missing: str | None = None
    unlike: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, str, str]:
        """Measured, published, and their difference at the printed two decimals; a dash where there is none."""
        measured, published = number(self.measured_db), number(self.published_db)
        both = self.measured_db is not None and self.published_db is not None
        return measured, published, f"{float(measured) - float(published):+.2f}" if both else "-"


def read_table1() -> tuple[tuple[str, ...], tuple[PublishedSet, ...]]:
    """Return the table's models and its sets."""
    content = read_toml(TABLE1, _Table1)
    return content.models, content.set


def terminal_table(cells: Sequence[Cell]) -> rich.table.Table:
    """Return the table for a terminal: one row a set, three columns a model."""
    titles = [title for model in _models(cells) for title in (f"{model}\nmeas.", "\npubl.", "\ndiff.")]
    rows = [[name, *(text for cell in row for text in cell.texts)] for name, row in _rows(cells).items()]
    return to_terminal(Table.of([_SET, *(Column(title, title) for title in titles)], rows))


def notes(cells: Sequence[Cell]) -> list[str]:
    """Return a sentence for each set and reason why cells were not measured, and what makes figures unlike."""
    models: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in cells:
        if cell.missing:
            models[cell.set_name, cell.missing].append(cell.model)
    missing = [f"{name}, {', '.join(its)}: not measured: {reason}" for (name, reason), its in models.items()]
    return [*missing, *dict.fromkeys(line for cell in cells if not cell.missing for line in cell.unlike)]


def markdown_table(cells: Sequence[Cell]) -> str:
    """Return a GitHub table with one column a model, "measured (published, difference)"."""
    rows = [[name, *("{} ({}, {})".format(*cell.texts) for cell in row)] for name, row in _rows(cells).items()]
    table = to_markdown(Table.of([_SET, *(Column(model, model) for model in _models(cells))], rows))
    listing = "\n".join(f"- {note}" for note in notes(cells))
    return f"{table}\n\nMeasured (published, difference).\n\n{listing}".rstrip() + "\n"


def csv_table(cells: Sequence[Cell]) -> str:
    """Return one line a cell; the measured figure is not rounded."""
    keys = ("set", "model", "measured_psnr_db", "published_psnr_db", "missing")
    rows = [(its.set_name, its.model, its.measured_db, its.published_db, its.missing) for its in cells]
    return to_csv(Table.headed(keys, rows))


def latex_table(cells: Sequence[Cell]) -> str:
    """Return a booktabs table: two columns a model, measured and published."""
    titles = [f"{model}, {kind}" for model in _models(cells) for kind in ("measured", "published")]
    sets = _rows(cells).items()
    rows = [[name, *(db for its in row for db in (its.measured_db, its.published_db))] for name, row in sets]
    return to_latex(Table.of([_SET, *(Column(title, title, decimals=2) for title in titles)], rows)) + "\n"


def _models(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.model for cell in cells))


def _rows(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    rows: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        rows[cell.set_name].append(cell)
    return rows
