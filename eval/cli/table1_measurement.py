"""Measuring the factsheet's Table 1, as far as its images and weights are here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eval.cli.session import Session
from eval.data.datasets import Dataset, open_dataset
from eval.errors import RunError, UsageError
from eval.report.papers.table1 import Cell, PublishedSet, csv_table, latex_table, markdown_table
from eval.report.tables import write_files
from eval.run.model_source import zoo_model
from eval.zoo.checkpoints import MissingWeightsError
from eval.zoo.manifest import find_model


def measure(session: Session, models: Sequence[str], sets: Sequence[PublishedSet], data_dir: Path | None) -> list[Cell]:
    """Measure every cell that can be, and say of every other one what is missing."""
    return [cell for published in sets for cell in _measure_set(session, models, published, data_dir)]


def _measure_set(session: Session, models: Sequence[str], published: PublishedSet, data_dir: Path | None) -> list[Cell]:
    empty = [Cell(published.name, model, None, published.published.get(model)) for model in models]
    try:
        dataset = open_dataset(data_dir, published.dataset)
    except UsageError:
        where = data_dir or "no --data_dir was given"
        return [replace(cell, missing=f"images not found ({where}); {published.obtain}") for cell in empty]
    except RunError as error:
        return [replace(cell, missing=str(error)) for cell in empty]
    if not dataset.has_hr:
        return [replace(cell, missing=f"no HR images; {published.obtain}") for cell in empty]
    return [_measure_cell(session, cell, dataset) for cell in empty]


def _measure_cell(session: Session, cell: Cell, dataset: Dataset) -> Cell:
    spec = find_model(cell.model)
    try:
        model = zoo_model(spec)
    except MissingWeightsError:
        return replace(cell, missing=f"no weights; python -m eval fetch weights --model_id {spec.id}")
    except RunError as error:
        return replace(cell, missing=str(error))
    record = session.run([model], [dataset])[-1]
    return replace(cell, measured_db=record.mean("psnr_db") if record.complete else None, missing=record.reason)


def write(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Write the table as table1.md, table1.csv and table1.tex."""
    contents = {"table1.md": markdown_table(cells), "table1.csv": csv_table(cells), "table1.tex": latex_table(cells)}
    return write_files(folder, contents)
