"""Commands that run models."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from eval.cli import table1_measurement
from eval.cli.aa import Case, run_trial
from eval.cli.aa_report import markdown, summary
from eval.cli.flags import (
    DEFAULT_SAVE_DIR,
    DataDir,
    Datasets,
    Device,
    PresetOption,
    SaveDir,
    Threads,
    Tile,
    parse_tile,
    split,
)
from eval.cli.program import FAILURE_EXIT
from eval.cli.run_options import Options
from eval.cli.session import Session
from eval.data.datasets import SAMPLE, open_dataset
from eval.errors import UsageError
from eval.records.record import Protocol
from eval.records.store import check_writable
from eval.report.table1 import notes, read_table1, terminal_table
from eval.report.tables import write_files
from eval.run.environment import describe_environment
from eval.run.model_source import AUTO, zoo_model
from eval.timing.interleaved import PRESETS
from eval.zoo.manifest import find_model


def table1(
    data_dir: DataDir = None,
    datasets: Datasets = None,
    save_dir: SaveDir = DEFAULT_SAVE_DIR,
    device: Device = AUTO,
    tile: Tile = AUTO,
    threads: Threads = None,
) -> None:
    """Measure the factsheet's Table 1 and print it beside the published figures; by default all sets that are here."""
    models, sets = read_table1()
    asked = split(datasets)
    unknown = [name for name in asked if name not in {row.name for row in sets}]
    if unknown:
        raise UsageError(f"--datasets {','.join(unknown)}: Table 1 has {', '.join(row.name for row in sets)}")
    chosen = [row for row in sets if not asked or row.name in asked]
    session = Session(
        Options(save_dir, device, Protocol.ACCURACY, parse_tile(tile), save_images=False, threads=threads)
    )
    check_writable(save_dir)
    cells = table1_measurement.measure(session, models, chosen, data_dir)
    session.terminal.show(terminal_table(cells))
    for note in notes(cells):
        session.terminal.say(note)
    paths = table1_measurement.write(cells, save_dir)
    session.terminal.say(f"written: {', '.join(map(str, paths))}")
    measured = [cell.measured_db is not None for cell in cells]
    if not (all(measured) if asked else any(measured)):
        raise typer.Exit(FAILURE_EXIT)


def aa(
    model_id: Annotated[str, typer.Option("--model_id", help="Id or name.")] = "3",
    data_dir: DataDir = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Set by name.")] = SAMPLE,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="How often.")] = 40,
    preset: PresetOption = "quick",
    device: Device = AUTO,
    threads: Threads = None,
    save_dir: SaveDir = DEFAULT_SAVE_DIR,
) -> None:
    """Time a model against itself by the steady protocol: its intervals must cover a ratio of 1."""
    session = Session(Options(save_dir, device, Protocol.STEADY, threads=threads))
    spec = find_model(model_id)
    case = Case(zoo_model(spec), session.placement, open_dataset(data_dir, dataset))
    check_writable(save_dir)
    with session.terminal.progress(spec.label, repeats, "repeats") as on_repeat:
        trial = run_trial(case, PRESETS[preset], repeats, on_repeat)
    for line in summary(trial):
        session.terminal.say(line)
    environment = describe_environment(session.device)
    facts = [
        f"{spec.label} against itself, {len(case.dataset.pairs)} images of {case.dataset.name}, preset {preset}",
        f"{environment.gpu or environment.cpu}, {environment.threads} thread(s), torch {environment.torch}",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {environment.commit}",
    ]
    paths = write_files(save_dir, {"aa.md": markdown("A model against itself", facts, trial)})
    session.terminal.say(f"written: {paths[0]}")
    if not trial.passed:
        raise typer.Exit(FAILURE_EXIT)
