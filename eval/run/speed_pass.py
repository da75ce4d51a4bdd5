"""The speed pass of the steady protocol: models whose accuracy is known are opened together, and timed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from eval.data.datasets import Dataset
from eval.records.record import Protocol, Record
from eval.run.keys import hash_of
from eval.run.loaded_model import Subject
from eval.run.model_source import Contender, Placement
from eval.run.runner import numeric_switches
from eval.run.tasks import Task, largest_lr
from eval.timing.interleaved import Preset, measure_together
from eval.timing.samples import Timing
from eval.timing.warmup import TimingError


def time_together(tasks: Sequence[Task], preset: Preset, seed: int, on_round: Callable[[int], None]) -> list[Timing]:
    """Open models all at once and time them; the first one is the baseline.

    Args:
        tasks: of one set; the accuracy pass of each is done.
        preset: limits.
        seed: of the order in which models run.
        on_round: called after each round with the number of rounds done.

    Raises:
        TimingError: one of them could not be opened again, or failed.
    """
    with opened_together([task.contender for task in tasks], tasks[0].placement, tasks[0].dataset) as subjects:
        return measure_together(subjects, tasks[0].dataset, preset, seed, on_round)


@contextmanager
def opened_together(contenders: Sequence[Contender], placement: Placement, dataset: Dataset) -> Iterator[list[Subject]]:
    """Hold models open on their device, all at once, under the switches of the steady protocol.

    Raises:
        TimingError: one of them could not be opened.
    """
    with ExitStack() as stack:
        stack.enter_context(numeric_switches(Protocol.STEADY))
        yield [_opened(stack, index, contender, placement, dataset) for index, contender in enumerate(contenders)]


def _opened(stack: ExitStack, index: int, contender: Contender, placement: Placement, dataset: Dataset) -> Subject:
    try:
        subject = stack.enter_context(contender.open(placement, largest_lr(dataset)))
        stack.enter_context(subject.on_device())
    except Exception as error:
        raise TimingError(index, error) from error
    return subject


def steady_keys(tasks: Sequence[Task], preset: str, seed: int) -> list[str]:
    """Return the key of each model's figures: they depend on what it is timed with."""
    group = [task.key for task in tasks]
    return [hash_of({"task": task.key, "preset": preset, "seed": seed, "group": group}) for task in tasks]


def as_steady(record: Record, key: str) -> Record:
    """Return the record of an accuracy pass as the beginning of one of the steady protocol."""
    settings = record.settings.model_copy(update={"protocol": Protocol.STEADY})
    return record.model_copy(update={"settings": settings, "key": key, "started_at": datetime.now(UTC)})
