"""An evaluation for a person at a terminal: what is used is said, and tables are printed and written at the end."""

import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from eval.cli.program import FAILURE_EXIT
from eval.cli.terminal import Terminal
from eval.config import RunConfig
from eval.data.datasets import Dataset, check_metric_sizes, open_dataset
from eval.data.finding import SAMPLE
from eval.device.memory import freeze_imports, keep_freed_memory
from eval.errors import UsageError
from eval.files import is_of_variable
from eval.metrics.registry import find_metrics
from eval.records.current import complete_ones, current, holds
from eval.records.record import Record
from eval.records.store import RECORDS_FOLDER, check_writable, read_records
from eval.report.board import Board, headlines_of, make_boards
from eval.report.tables import write_tables
from eval.run.evaluation import BrokenOffError, Evaluation
from eval.run.launch import Launch
from eval.run.model_source import ModelSource
from eval.words import visible

INTERRUPTED_EXIT = 130


def _refuse_one_name(datasets: Sequence[Dataset]) -> None:
    """Refuse different sets of one name, as ``a/b`` and ``a_b`` have: nothing tells their rows in a table apart."""
    by_name = {dataset.name: dataset for dataset in datasets}
    for first in datasets:
        if first.pairs != (other := by_name[first.name]).pairs:
            raise UsageError(
                f"--datasets: {first.folder} and {other.folder} hold two sets that are both called {first.name} in "
                "tables; rename one, or give them to two commands with a --save_dir each"
            )


class Session:
    """One command that runs models. The process is the command's own, so it may be set up for speed."""

    def __init__(self, config: RunConfig, save_dir: Path, launch: Launch) -> None:
        self.terminal = Terminal()
        self.save_dir = save_dir
        self.evaluation = Evaluation(config, replace(launch, save_dir=save_dir), self.terminal)
        if not config.is_timed:
            keep_freed_memory()
            freeze_imports()

    @property
    def records(self) -> list[Record]:
        """What was run, or taken from former commands."""
        return self.evaluation.records

    def open(self, data_dir: Path | None, names: Sequence[str | None]) -> list[Dataset]:
        """Find and check all sets, and where results go, before any model runs on one of them."""
        datasets = [open_dataset(data_dir, name) for name in names]
        _refuse_one_name(datasets)
        metrics = find_metrics(self.evaluation.config.metrics)
        for dataset in datasets:
            check_metric_sizes(dataset, metrics)
        check_writable(self.save_dir, RECORDS_FOLDER)
        if data_dir and set(names) == {SAMPLE} and not is_of_variable(data_dir):
            self.terminal.say(f"note: --data_dir {data_dir} has no effect: {SAMPLE} comes with scikit-image")
        idle = [metric.title for metric in metrics if metric.needs == "hr" and metric.key != "psnr_db"]
        if idle and not any(dataset.has_hr for dataset in datasets):
            self.terminal.say(f"note: no {', '.join(idle)}: there are no HR images")
        return datasets

    def run(self, models: Sequence[ModelSource], datasets: Sequence[Dataset]) -> list[Record]:
        """Run every model on every set; ctrl-C ends the program with the tables of what is finished."""
        try:
            return self.evaluation.run(models, datasets)
        except BrokenOffError:
            write_tables(self.save_dir, valid="", test=None, headlines=headlines_of(self._boards()))
            raise typer.Exit(INTERRUPTED_EXIT) from None

    def _boards(self) -> tuple[Board, ...]:
        return make_boards(current(read_records(self.save_dir / RECORDS_FOLDER)), with_others=False)

    def finish(self, valid: str, test: str | None = None, show: bool = False) -> None:
        """Print the table of the sets that ran, and write all tables; end with exit code 1 if a run failed.

        Results.txt has columns for the set ``valid`` and, if there is one, ``test``; ``show`` opens the folder.
        """
        boards = self._boards()
        ran = [board for board in boards if any(holds(board.table, record) for record in self.records)]
        if shown := complete_ones(board.table for board in ran):
            self.terminal.table(shown)
        for board in ran:
            if sum(record.complete and record.model.is_network for record in board.records) > 1:
                self.terminal.headline(board.headline, f"{visible(board.conditions.dataset)}: ")
        self.terminal.not_run([record for record in self.records if not record.complete])
        paths = write_tables(self.save_dir, valid, test, headlines_of(boards))
        written = any(record.images_folder for record in self.records)
        images = ", SR images under <model>/<set>/" if written else ""
        names = ", ".join(path.name for path in paths)
        self.terminal.say(f"written to {self.save_dir}: {names}, {RECORDS_FOLDER}/{images}")
        address = self.save_dir.resolve().as_uri()
        self.terminal.say(f"folder   {address}")
        if show:
            webbrowser.open(address)
        if not all(record.complete for record in self.records):
            raise typer.Exit(FAILURE_EXIT)
