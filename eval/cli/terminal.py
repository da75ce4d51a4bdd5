"""What a person sees while models run, and the table at the end. Plain text when the output is no terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from eval.records.record import Record
from eval.report.columns import Column, columns_of, flag_notes, legend, outcome, visible
from eval.run.observer import Observer

if TYPE_CHECKING:
    from eval.data.datasets import Dataset
    from eval.run.tasks import EvaluationTask

_PIPED_WIDTH = 120
# Between two columns of a table.
_GAP = 3
_SHOWN_NAMES = 5
# What a narrow window goes without, in this order.
_LEAST_FIRST = ("num_conv", "p90_ms", "peak_memory_mib", "activations", "flops_by_hooks", "ssim", "flops", "num_params")


class Terminal(Observer):
    """Facts and tables go to standard output; progress and errors to standard error."""

    def __init__(self) -> None:
        out = Console(highlight=False)
        self._out = out if out.is_terminal else Console(highlight=False, width=_PIPED_WIDTH)
        self._err = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Print a line: wrapped between words on a terminal, as it is in a pipe or file."""
        self._out.print(Text(text), soft_wrap=not self._out.is_terminal)

    def show(self, table: Table) -> None:
        """Print a table."""
        self._out.print(table)

    def warn(self, text: str) -> None:
        """Print a line to standard error."""
        self._err.print(Text(text, style="yellow"), soft_wrap=True)

    def announce_data(self, dataset: "Dataset") -> None:
        """Say what a set was taken for, and what beside it is not used."""
        self.say(f"data     {dataset.name}: {len(dataset.pairs)} images in {dataset.folder}")
        self.say(f"         layout: {dataset.layout}")
        if dataset.left_out:
            self.say(f"         not used: {_listing([path.name for path in dataset.left_out])}")

    def announce(self, task: "EvaluationTask") -> None:
        """Say what is about to run, how, with which weights."""
        self.say(f"model    {task.model.info.label}: {task.model.note}")
        self.say(f"running  {task.config}")

    def failed_to_store(self, record: Record) -> None:
        """Print the figures of a record that could not be written."""
        if record.images:
            self.table([record])

    @contextmanager
    def progress(self, label: str, total: int, unit: str = "images") -> Iterator[Callable[[object], None]]:
        """Show a bar with the count and the time left; yields what to call after each unit."""
        columns = (TextColumn("{task.fields[label]}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, *times, console=self._err, disable=not self._err.is_terminal) as bar:
            task = bar.add_task("", total=total, label=label)
            yield lambda _done: bar.advance(task)

    def table(self, records: Sequence[Record]) -> None:
        """Print one row a record, as many columns as fit, and the legend."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        several_sets = len({record.dataset.name for record in records}) > 1
        names = [[record.model.label, record.dataset.name][: 2 if several_sets else 1] for record in records]
        for title in ("Model", "Set") if several_sets else ("Model",):
            table.add_column(title, no_wrap=True)
        taken = sum(max(map(len, column)) + _GAP for column in zip(*names, strict=True))
        columns, left_out = _fitting(records, self._out.width - taken)
        for column in columns:
            table.add_column(Text(_heading(column)), justify="right", no_wrap=True)
        for record, name in zip(records, names, strict=True):
            table.add_row(*map(Text, name), *(column.text(record) for column in columns))
        self.show(table)
        if left_out:
            titles = ", ".join(column.title for column in left_out)
            self.say(f"Left out for want of room: {titles}; they are in the files, and in a wider window.")
        for line in legend(records):
            self.say(line)
        for line in flag_notes(records):
            self.say(f"note: {line}")

    def not_run(self, records: Sequence[Record]) -> None:
        """Print one row a model that did not run, with its state and why; nothing if there is none."""
        if not records:
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), title="Did not run", title_justify="left")
        for title in ("Model", "Set", "What", "Why"):
            table.add_column(title, no_wrap=title != "Why")
        for record in records:
            what, _, why = outcome(record).partition(": ")
            table.add_row(*map(Text, (record.model.label, record.dataset.name, what, why)))
        self.show(table)


def _listing(names: Sequence[str]) -> str:
    """Return how many names there are, and the first few of them."""
    shown = ", ".join(map(visible, names[:_SHOWN_NAMES]))
    more = ", ..." if len(names) > _SHOWN_NAMES else ""
    return f"{len(names)} other file(s): {shown}{more}"


def _heading(column: Column) -> str:
    return f"{column.title}\n[{column.unit}]" if column.unit else column.title


def _fitting(records: Sequence[Record], width: int) -> tuple[list[Column], list[Column]]:
    """Return the columns that hold a figure and fit into a width, and those that hold one and do not fit."""
    columns = [column for column in columns_of(records) if any(column.value(row) is not None for row in records)]
    left_out = []
    for key in _LEAST_FIRST:
        if sum(_width(column, records) for column in columns) > width:
            left_out += [column for column in columns if column.key == key]
            columns = [column for column in columns if column.key != key]
    return columns, left_out


def _width(column: Column, records: Sequence[Record]) -> int:
    texts = [*_heading(column).splitlines(), *(column.text(record) for record in records)]
    return max(map(len, texts)) + _GAP
