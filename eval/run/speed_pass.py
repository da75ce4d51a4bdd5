"""The speed pass of the steady protocol: models whose accuracy is known are opened together, and timed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from eval.config import AUTO, Protocol, RunConfig
from eval.data.datasets import Dataset
from eval.device.numerics import cudnn_switches
from eval.device.placing import threads_set
from eval.records.record import Record, State
from eval.run.failures import CannotRunError
from eval.run.interrupts import hold_ctrl_c
from eval.run.keys import hash_of
from eval.run.model_source import LoadedModel, ModelSource
from eval.run.tasks import EvaluationTask, largest_lr
from eval.timing.interleaved import measure_together
from eval.timing.presets import preset_of
from eval.timing.samples import Timing
from eval.timing.warmup import TimingError


def time_together(tasks: Sequence[EvaluationTask], on_round: Callable[[int], None]) -> list[Timing]:
    """Open models all at once and time them; the first one is the baseline.

    Tasks are of one set and the steady protocol, and the accuracy pass of each is done; ``on_round`` is called after
    each round with the number of rounds done.

    Raises:
        TimingError: one of them could not be opened again as its accuracy was measured, or failed.
    """
    config, dataset = tasks[0].config, tasks[0].dataset
    with opened_together([(task.model, task.config) for task in tasks], dataset) as models:
        for index, (task, model) in enumerate(zip(tasks, models, strict=True)):
            _check_whole(index, task.config, model)
        timings = measure_together(models, dataset, preset_of(config), config.seed, on_round)
        hold_ctrl_c()
        return timings


def cut_as(task: EvaluationTask, record: Record) -> EvaluationTask:
    """Return a task that cuts images as its accuracy pass did, where ``--tile auto`` chose tiles for that."""
    if task.config.tile != AUTO or record.settings.tile is None:
        return task
    cut = {"tile": record.settings.tile, "tile_overlap": record.settings.tile_overlap}
    return replace(task, config=task.config.replaced(**cut))


def _check_whole(index: int, config: RunConfig, model: LoadedModel) -> None:
    """Refuse tiles that ``auto`` chose by the memory that is free by now: the accuracy pass ran whole images."""
    if config.tile == AUTO and model.tiling is not None:
        now = f"free memory is now enough for tiles of {model.tiling.tile} alone"
        reason = f"--tile auto: its accuracy was measured on whole images, and {now}; free some, or give --tile"
        error = CannotRunError(State.OUT_OF_MEMORY, reason)
        raise TimingError(index, error) from error


@contextmanager
def opened_together(sources: Sequence[tuple[ModelSource, RunConfig]], dataset: Dataset) -> Iterator[list[LoadedModel]]:
    """Hold models open on their device, all at once, under the switches of the steady protocol.

    Raises:
        TimingError: one of them could not be opened.
    """
    shared = sources[0][1]
    with ExitStack() as stack:
        stack.enter_context(threads_set(shared.threads))
        stack.enter_context(cudnn_switches(bool(shared.tf32)))
        yield [_opened(stack, index, source, config, dataset) for index, (source, config) in enumerate(sources)]


def _opened(stack: ExitStack, index: int, source: ModelSource, config: RunConfig, dataset: Dataset) -> LoadedModel:
    try:
        model = stack.enter_context(source.open(config, largest_lr(dataset)))
        stack.enter_context(model.on_device())
    except Exception as error:
        raise TimingError(index, error) from error
    return model


def steady_keys(tasks: Sequence[EvaluationTask]) -> list[str]:
    """Return the key of each model's figures: they depend on what it is timed with."""
    group = [task.key for task in tasks]
    return [hash_of({"task": task.key, "group": group}) for task in tasks]


def as_steady(record: Record, task: EvaluationTask, key: str) -> Record:
    """Return the record of an accuracy pass as the beginning of one of the steady protocol."""
    settings = record.settings.model_copy(update={"protocol": Protocol.STEADY})
    changed = {"settings": settings, "config": task.config, "key": key, "started_at": datetime.now(UTC)}
    return record.model_copy(update=changed)
