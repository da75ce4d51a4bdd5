"""What an evaluation tells of itself on its way, for a person or for nobody."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.data.datasets import Dataset
    from eval.records.record import Record
    from eval.run.tasks import EvaluationTask


class Observer:
    """What an evaluation tells of itself; this one is silent."""

    def say(self, text: str) -> None:
        """Take a fact."""

    def warn(self, text: str) -> None:
        """Take what went wrong."""

    def announce_data(self, dataset: "Dataset") -> None:
        """Take that a set is next."""

    def announce(self, task: "EvaluationTask") -> None:
        """Take that a task is next."""

    def finished(self, record: "Record") -> None:
        """Take the record of a task that was carried out, complete or not."""

    def failed_to_store(self, record: "Record") -> None:
        """Take a record that could not be written."""

    def progress(
        self, _label: str, _total: int, _unit: str = "images"
    ) -> AbstractContextManager[Callable[[object], None]]:
        """Return what is called with each unit that is done, for a block of code."""
        return nullcontext(lambda _done: None)
