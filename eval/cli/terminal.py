"""What a person sees while models run, and the table at the end. Plain text when the output is no terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import rich.table
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from eval.files import mute
from eval.metrics.registry import METRICS
from eval.records.record import Record
from eval.report.columns import COLUMNS, LABEL, SET, filled_columns, flag_notes, legend
from eval.report.headline import Headline
from eval.report.renderers import to_terminal
from eval.report.table import Figure, Table
from eval.report.tables import failures_table
from eval.run.observer import Observer
from eval.words import counted, first_of, visible, written_lines, written_out

if TYPE_CHECKING:
    from eval.data.datasets import Dataset
    from eval.run.tasks import EvaluationTask

_PIPED_WIDTH = 120
_SHOWN_NAMES = 5
# A mark says something where more figures differ than have one.
_LEAST_MARKED = 3
# What a narrow window goes without, in this order.
_LEAST_FIRST = (
    *("num_conv", "p90_ms", "kernels_ms", "peak_memory_mib", "activations", "flops_by_hooks"),
    *reversed([row.key for row in METRICS.values()][1:]),
    *("flops", "num_params"),
)


class _Console(Console):
    """A console whose reader may go, as ``head`` does after its lines: what is run goes on, and is kept."""

    def on_broken_pipe(self) -> None:
        """Say nothing from now on."""
        self.quiet = True
        mute(self.file)


class Terminal(Observer):
    """Facts and tables go to standard output; progress and errors to standard error."""

    def __init__(self) -> None:
        out = _Console(highlight=False)
        self._out = out if out.is_terminal else _Console(highlight=False, width=_PIPED_WIDTH)
        self._err = _Console(stderr=True, highlight=False)
        self._said: set[str] = set()

    def say(self, text: str) -> None:
        """Print a line: wrapped between words on a terminal, as it is in a pipe or file."""
        self._out.print(Text(written_lines(text)), soft_wrap=not self._out.is_terminal)

    def say_once(self, text: str) -> None:
        """Print a line, unless this command has printed it before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def show(self, table: rich.table.Table) -> None:
        """Print a table."""
        self._out.print(table)

    def warn(self, text: str) -> None:
        """Print a line to standard error."""
        self._err.print(Text(written_lines(text), style="yellow"), soft_wrap=True)

    def announce_data(self, dataset: "Dataset") -> None:
        """Say what a set was taken for, and what beside it is not used."""
        # It brings torch and OpenCV, which commands that read records do without.
        from eval.data.description import description

        self.say(f"data     {dataset.name}: {counted(len(dataset.pairs), 'image')} in {dataset.folder}")
        self.say(f"         layout: {dataset.layout}")
        for line in description(dataset):
            self.say(f"         {line}")
        if dataset.left_out:
            names = [visible(path.name) for path in dataset.left_out]
            self.say(f"         not used: {counted(len(names), 'other file')}: {first_of(names, _SHOWN_NAMES)}")

    def announce(self, task: "EvaluationTask") -> None:
        """Say what is about to run, with which weights, and how; each once."""
        self.say_once(f"running  {task.config}")
        self.say_once(f"model    {task.model.info.label}: {task.model.note}")

    def finished(self, record: Record) -> None:
        """Say in a line what came of a model on a set."""
        if record.complete:
            taken = [its for its in COLUMNS if its.key in record.means]
            figures = [f"{its.title} {its.text(its.of(record))} {its.unit}".strip() for its in taken]
            words = ", ".join(figures) or "super-resolved"
        else:
            words = record.outcome
        self.say(f"done     {visible(record.model.full_name)} on {visible(record.dataset.name)}: {words}")

    def failed_to_store(self, record: Record) -> None:
        """Print the figures of a record that could not be written."""
        if record.images:
            self.table([record])

    @contextmanager
    def progress(self, label: str, total: int, unit: str = "images") -> Iterator[Callable[[object], None]]:
        """Show a bar with the count and the time left; yields what to call after each unit."""
        # Names of sets and models are no markup.
        label, label_column = written_out(label), TextColumn("{task.fields[label]}", markup=False)
        counts = (BarColumn(), MofNCompleteColumn(), TextColumn(unit))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(label_column, *counts, *times, console=self._err, disable=not self._err.is_terminal) as bar:
            task = bar.add_task("", total=total, label=label)

            def advance(_done: object) -> None:
                bar.advance(task)
                if bar.finished and unit == "images":
                    # What follows the images takes seconds for some networks.
                    bar.update(task, label=f"{label}, counting FLOPs")

            yield advance

    def table(self, records: Sequence[Record]) -> None:
        """Print one row a record, as many columns as fit, and the legend."""
        several_sets = len({record.dataset.name for record in records}) > 1
        names = (LABEL, SET) if several_sets else (LABEL,)
        whole = _marked((*names, *filled_columns(records)), records)
        table = _fitting(whole, self._out)
        self.show(to_terminal(table))
        left_out = {column.key: column.title for column in whole.columns if column not in table.columns}
        if left_out:
            titles = ", ".join(left_out[key] for key in _LEAST_FIRST if key in left_out)
            self.say(
                f"Columns that do not fit this window: {titles}. They are in the files; a wider window shows them."
            )
        for line in legend(records):
            self.say(line)
        for line in flag_notes(records):
            self.say(f"note: {line}")

    def headline(self, its: Headline, where: str = "") -> None:
        """Print who is first, and how sure that is."""
        self._out.print(Text(written_lines(f"{where}{its.claim}"), "bold"), soft_wrap=not self._out.is_terminal)
        for line in its.details:
            self.say(f"- {line}")

    def not_run(self, records: Sequence[Record]) -> None:
        """Print one row a model that did not run, with its state and why; nothing if there is none."""
        if records:
            self.show(to_terminal(failures_table(records), title="Did not run", title_justify="left"))


def _marked(columns: Sequence[Figure], records: Sequence[Record]) -> Table:
    """Return a table of records with the best and the second figure of each set marked among networks."""
    marked = []
    for _, its in groupby(records, key=lambda record: record.dataset.name):
        rows = list(its)
        marked += Table.about(columns, rows).marked(_LEAST_MARKED, [record.model.is_network for record in rows]).rows
    return Table(tuple(columns), tuple(marked))


def _fitting(table: Table, console: Console) -> Table:
    """Return a table without the columns for which a console has no room, those of least interest first."""
    boundless = console.options.update(max_width=sys.maxsize)
    for key in _LEAST_FIRST:
        if Measurement.get(console, boundless, to_terminal(table)).maximum > console.width:
            table = table.chosen({column.key for column in table.columns} - {key})
    return table
