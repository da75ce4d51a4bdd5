"""Tasks: one model on one set each. What makes two of them the same, and what their records say of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from eval.config import Protocol, RunConfig
from eval.data.datasets import Dataset
from eval.data.images import ImageSize
from eval.device.memory import PeakMemory
from eval.errors import RunError, UsageError
from eval.metrics.figures import Flag, ModelAnalysis
from eval.records.environment import MachineState
from eval.records.record import Compiled, DatasetInfo, ImageResult, Record, Settings, State, means_of
from eval.run.environment import describe_environment, machine_state
from eval.run.failures import CannotRunError, Ending, failure_of
from eval.run.keys import Machine, hash_of, libraries, machine, measuring_now, measuring_sha256
from eval.run.model_source import LoadedModel, ModelSource
from eval.zoo.model_info import IN_MEMORY, ModelInfo


@dataclass(frozen=True)
class EvaluationTask:
    """One model on one set, described well enough to be carried out in any process.

    Attributes:
        config: as this model runs on this machine: device, threads and engine are named, and what they are.
        images_dir: where SR images are written, or None.
        analysis: what is known of the network already, or None.
        engine_asked: "auto" where that chose the engine; ``left_out`` are those that it could not try.
        machine: where it will be carried out, as ``keys.machine`` has it; None for here.
    """

    model: ModelSource
    dataset: Dataset
    config: RunConfig
    images_dir: Path | None = None
    analysis: ModelAnalysis | None = None
    engine_asked: str | None = None
    left_out: tuple[str, ...] = ()
    machine: Machine | None = None

    @cached_property
    def key(self) -> str:
        """The hash of everything that the figures depend on; sources, weights and images are read for it, once."""
        its = self.machine or machine(self.config.device)
        host = None if self.config.protocol is Protocol.ACCURACY else its.host
        asked = {"config": self.config.decides, "images": self.images_dir is not None, "host": host}
        return hash_of({**self.making, **asked})

    @cached_property
    def figures_key(self) -> str:
        """The hash of everything that figures besides times depend on, whichever of them are taken."""
        return hash_of(self.making)

    @cached_property
    def images_key(self) -> str:
        """The hash of what tells SR images from those of another model or manner; a newer version's replace them."""
        return hash_of({"pixels": _pixels_of(self.model.info, self._images, self.config)})

    @cached_property
    def making(self) -> dict[str, object]:
        """Everything that figures besides times depend on, as keys hold it."""
        return making_of(self.model.info, self._images, self.config, self.machine)

    def __getstate__(self) -> dict[str, object]:
        """Return what another process gets: what keys hold with it, for the process may find newer files."""
        return {**vars(self), "making": self.making}

    @property
    def _images(self) -> tuple[str, str | None]:
        return self.dataset.name, self.dataset.sha256


@dataclass
class TaskRun:
    """A run of a task, as far as it got."""

    started_at: datetime
    before: MachineState
    streams: int = 1
    images: list[ImageResult] = field(default_factory=list)
    analysis: ModelAnalysis = field(default_factory=ModelAnalysis)
    flags: tuple[Flag, ...] = ()
    memory: PeakMemory | None = None
    compiled: Compiled | None = None
    ending: Ending = field(default_factory=Ending)


def making_of(
    info: ModelInfo,
    images: tuple[str, str | None],
    config: RunConfig,
    where: Machine | None = None,
) -> dict[str, object]:
    """Return everything that figures besides times depend on: what a ``figures_key`` is the hash of.

    ``images`` are the set's name and hash, ``where`` is the machine, as ``keys.machine`` has it, or None for this one.
    """
    return {
        "pixels": _pixels_of(info, images, config),
        "source": info.source_sha256,
        "measuring": measuring_sha256(info.by_worker),
        "libraries": (*libraries(config.engine), *info.packages),
        "machine": (where or machine(config.device)).parts,
    }


def _pixels_of(info: ModelInfo, images: tuple[str, str | None], config: RunConfig) -> list:
    model = [info.label, info.origin, info.weights_sha256, info.data_range]
    model += [info.weights_key] if info.weights_key else []
    # The label of one in memory is that of any network of its class.
    model += [info.source_sha256] if info.origin == IN_MEMORY else []
    return [model, images, config.decides_pixels]


def is_final(record: Record) -> bool:
    """Tell whether a record answers its task: it is complete, or it must fail again like this."""
    return record.complete or (record.status == "failed" and record.state.follows_from_key and record.timing is None)


def largest_lr(dataset: Dataset) -> ImageSize:
    """Return the size of a set's largest LR image."""
    return max(dataset.lr_sizes, key=lambda size: size.height * size.width)


def lost(task: EvaluationTask, reason: str) -> Record:
    """Return the record of a task whose process died."""
    return failed(task, datetime.now(UTC), CannotRunError(State.KILLED, reason))


def failed(task: EvaluationTask, started_at: datetime, error: Exception) -> Record:
    """Return the record of a task of which no image was run."""
    before = machine_state(torch.device(task.config.device))
    return record_of(task, None, TaskRun(started_at, before, ending=failure_of(error, State.FAILED_TO_BUILD)))


def unless_changed(record: Record, task: EvaluationTask) -> Record:
    """Return a record, not complete if what made it is not what the task's key holds any more: files, or code."""
    ending = _judged(Ending(record.status, record.state, record.reason, record.traceback), task, record.model)
    return record.model_copy(update=ending._asdict())


def _judged(ending: Ending, task: EvaluationTask, ran: ModelInfo) -> Ending:
    """Return how a run ended; what would answer its key did not end so if other files may have made it."""
    answers = ending.status == "complete" or ending.state.follows_from_key
    if not answers or not (changed := _changed(task, ran)):
        return ending
    state, told = changed
    reason = f"{told} ({ending.reason})" if ending.reason else told
    return Ending("failed", state, reason, ending.traceback)


def _changed(task: EvaluationTask, ran: ModelInfo) -> tuple[State, str] | None:
    """Return what is not as the task's key has it, in a sentence: images, weights, the model's code, or ours.

    Weights and code of the model count as they were opened, and as they are now.
    """
    weights, source, again = task.model.info.weights_sha256, task.making["source"], "changed while it ran: run it again"
    if not _still(task.dataset.sha256, task.dataset.sha256_now):
        told = "an image changed after the set was opened: open the set anew, and run it again"
        return State.FILES_CHANGED, told
    if ran.weights_sha256 != weights or not _still(weights, task.model.weights_now):
        return State.FILES_CHANGED, f"its weights {again}"
    if ran.source_sha256 != source or not _still(source, task.model.source_now):
        return State.SOURCE_CHANGED, f"its source {again}"
    if not _still(task.making["measuring"], partial(measuring_now, ran.by_worker)):
        return State.SOURCE_CHANGED, f"the code that measures it {again}"
    return None


def _still(before: object, now: Callable[[], object]) -> bool:
    """Tell whether files are what they were; those that cannot be read any more are not."""
    try:
        return now() == before
    except (OSError, RunError, UsageError):
        return False


def record_of(task: EvaluationTask, model: LoadedModel | None, ran: TaskRun) -> Record:
    """Return the record of a run that ends now; ``model`` is None if it could not be loaded."""
    device = torch.device(task.config.device) if model is None else model.device
    info = task.model.info if model is None else model.info
    return Record(
        **_judged(ran.ending, task, info)._asdict(),
        key=task.key,
        figures_key=task.figures_key,
        images_folder=task.images_dir and "/".join(task.images_dir.parts[-2:]),
        images_key=task.images_dir and task.images_key,
        started_at=ran.started_at,
        finished_at=datetime.now(UTC),
        model=info,
        dataset=DatasetInfo(
            name=task.dataset.name,
            layout=task.dataset.layout,
            folder=str(task.dataset.folder),
            num_images=len(task.dataset.pairs),
            sha256=task.dataset.sha256,
            num_grey=task.dataset.num_grey,
        ),
        settings=_settings(task, model, ran),
        config=task.config,
        images=tuple(ran.images),
        means=means_of(ran.images),
        complexity=ran.analysis.complexity,
        peak_memory_mib=ran.memory and ran.memory.mib,
        peak_memory_method=ran.memory and ran.memory.method,
        flags=(*ran.analysis.flags, *ran.flags),
        environment=describe_environment(device),
        before=ran.before,
        after=machine_state(device),
    )


def _settings(task: EvaluationTask, model: LoadedModel | None, ran: TaskRun) -> Settings:
    """Return how a model ran, or was to run where it could not be loaded."""
    config = task.config
    taken: dict[str, Any] = {"protocol": config.protocol, "runs": config.runs}
    taken |= {"engine_asked": task.engine_asked, "left_out": task.left_out, "compiled": ran.compiled}
    if model is None:
        taken |= {"device": config.device, "engine": config.engine, "precision": config.precision}
        taken |= {"tile": config.tile if isinstance(config.tile, int) else None, "tile_overlap": config.tile_overlap}
        return Settings(**taken)
    taken |= {"device": str(model.device), **vars(model.execution), "memory_format": model.execution.memory_format}
    taken |= {"tile": model.tiling and model.tiling.tile, "tile_overlap": model.tiling and model.tiling.shared}
    workers = 0 if config.is_timed or ran.streams > 1 else config.workers
    return Settings(**taken, streams=ran.streams, workers=workers)
