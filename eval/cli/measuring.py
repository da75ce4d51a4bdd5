"""Commands that measure what a published table or a claim says: Table 1, and a model against itself."""

import typer

from eval.cli import table1_measurement
from eval.cli.flags import DEFAULT_SAVE_DIR, DataDir, Datasets, SaveDir, configured
from eval.cli.program import FAILURE_EXIT
from eval.cli.session import Session
from eval.config import EAGER, Protocol, RunConfig, split
from eval.errors import UsageError
from eval.records.store import check_writable
from eval.report.papers.table1 import notes, read_table1, terminal_table
from eval.run.launch import Launch


@configured("device", "tile", "threads", protocol=Protocol.ACCURACY, engine=EAGER)
def table1(
    config: RunConfig,
    data_dir: DataDir = None,
    datasets: Datasets = None,
    save_dir: SaveDir = DEFAULT_SAVE_DIR,
) -> None:
    """Measure the factsheet's Table 1 and print it beside the published figures; by default all sets that are here."""
    models, sets = read_table1()
    asked = split(datasets)
    unknown = [name for name in asked if name not in {row.name for row in sets}]
    if unknown:
        raise UsageError(f"--datasets {','.join(unknown)}: Table 1 has {', '.join(row.name for row in sets)}")
    chosen = [row for row in sets if not asked or row.name in asked]
    session = Session(config, save_dir, Launch())
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
