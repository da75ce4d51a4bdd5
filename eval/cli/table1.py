"""``python -m eval table1``: the factsheet's Table 1, measured as far as its images and weights are here."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import typer

from eval.cli.flags import DEFAULT_SAVE_DIR, DataDir, Datasets, SaveDir, configured
from eval.cli.program import FAILURE_EXIT
from eval.cli.session import Session
from eval.config import EAGER, Protocol, RunConfig, split
from eval.data.datasets import Dataset, open_dataset
from eval.data.finding import NoSuchSetError
from eval.errors import RunError, UsageError
from eval.records.store import check_writable
from eval.report.papers import table1 as paper
from eval.report.tables import write_files
from eval.run.launch import Launch
from eval.run.model_source import ZooModel, zoo_model
from eval.words import counted
from eval.zoo.checkpoints import MissingWeightsError
from eval.zoo.manifest import find_model
from eval.zoo.model_info import with_weights


@configured("device", "tile", "threads", protocol=Protocol.ACCURACY, engine=EAGER)
def table1(
    config: RunConfig, data_dir: DataDir = None, datasets: Datasets = None, save_dir: SaveDir = DEFAULT_SAVE_DIR
) -> None:
    """Measure Table 1 of the factsheet and print it with the published figures. Default: all sets that are found."""
    models, sets = paper.read_table1()
    asked = split(datasets)
    if unknown := [name for name in asked if name not in {row.name for row in sets}]:
        raise UsageError(f"--datasets {','.join(unknown)}: Table 1 has {', '.join(row.name for row in sets)}")
    chosen = [row for row in sets if not asked or row.name in asked]
    session = Session(config, save_dir, Launch())
    check_writable(save_dir)
    sources = {model: _source(model) for model in models}
    cells = [cell for published in chosen for cell in _measure_set(session, sources, published, data_dir)]
    session.terminal.show(paper.terminal_table(cells))
    for note in paper.notes(cells):
        session.terminal.say(note)
    forms = {"md": paper.markdown_table, "csv": paper.csv_table, "tex": paper.latex_table}
    paths = write_files(save_dir, {f"table1.{suffix}": form(cells) for suffix, form in forms.items()})
    session.terminal.say(f"written: {', '.join(map(str, paths))}")
    measured = [cell.measured_db is not None for cell in cells]
    failed = not all(record.complete for record in session.records)
    if failed or not (all(measured) if asked else any(measured)):
        raise typer.Exit(FAILURE_EXIT)


def _source(name: str) -> ZooModel | str:
    """Return a model with its weights, or why there are none."""
    spec = find_model(name)
    try:
        return zoo_model(spec)
    except MissingWeightsError:
        return f"no weights; python -m eval fetch weights --model_id {spec.id}"
    except RunError as error:
        return str(error)


def _measure_set(
    session: Session, sources: Mapping[str, ZooModel | str], published: paper.PublishedSet, data_dir: Path | None
) -> list[paper.Cell]:
    empty = [_empty_cell(name, source, published) for name, source in sources.items()]
    try:
        dataset = open_dataset(data_dir, published.dataset)
    except NoSuchSetError:
        where = data_dir or "no --data_dir was given"
        return [replace(cell, missing=f"images not found ({where}); {published.obtain}") for cell in empty]
    except (UsageError, RunError) as error:
        return [replace(cell, missing=str(error)) for cell in empty]
    if not dataset.has_hr:
        return [replace(cell, missing=f"no HR images; {published.obtain}") for cell in empty]
    if (images := len(dataset.pairs)) != published.images:
        name = f"{published.name} ({counted(images, 'image')})"
        other = f"{name}: the published set has {published.images}"
        empty = [replace(cell, set_name=name, unlike=(*cell.unlike, other)) for cell in empty]
    return [_measure_cell(session, *pair, dataset) for pair in zip(empty, sources.values(), strict=True)]


def _empty_cell(name: str, source: ZooModel | str, published: paper.PublishedSet) -> paper.Cell:
    """Return a cell without its figure, under the model's name with weights that are not the released ones."""
    weights = "" if isinstance(source, str) else source.info.own_weights
    label = with_weights(name, weights)
    unlike = (f"{label}: these weights are not those that its authors released",) if weights else ()
    return paper.Cell(published.name, label, None, published.published.get(name), unlike=unlike)


def _measure_cell(session: Session, cell: paper.Cell, source: ZooModel | str, dataset: Dataset) -> paper.Cell:
    if isinstance(source, str):
        return replace(cell, missing=source)
    record = session.run([source], [dataset])[-1]
    return replace(cell, measured_db=record.mean("psnr_db") if record.complete else None, missing=record.reason)
