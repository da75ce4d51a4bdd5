"""Tasks: one model on one set each. What makes two of them the same, and carrying one out in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import torch

from eval.data.datasets import Dataset
from eval.data.images import ImageSize
from eval.records.record import ImageResult, Protocol, Record, Settings, State
from eval.run.environment import describe_environment, machine_state
from eval.run.keys import hash_of, libraries, machine, measuring_sha256
from eval.run.loaded_model import CannotRunError, Examination, failure_of
from eval.run.model_source import Contender, Placement
from eval.run.runner import Job, dataset_info, run


@dataclass(frozen=True)
class Task:
    """One model on one set, described well enough to be carried out in any process.

    Attributes:
        images_dir: where SR images are written, or None.
        runs: of which the times are averaged, each in a process of its own.
        examined: what is known of the network already, or None.
    """

    contender: Contender
    dataset: Dataset
    placement: Placement
    protocol: Protocol
    with_ssim: bool = False
    images_dir: Path | None = None
    runs: int = 1
    examined: Examination | None = None

    @cached_property
    def key(self) -> str:
        """The hash of everything that the figures depend on; sources, weights and images are read for it, once."""
        asked = {
            "protocol": [self.protocol, self.runs, self.with_ssim],
            "threads": self.placement.threads or torch.get_num_threads(),
            "images": self.images_dir is not None,
        }
        return hash_of({**self._making, **asked})

    @cached_property
    def figures_key(self) -> str:
        """The hash of everything that figures besides times depend on, whichever of them are taken."""
        return hash_of(self._making)

    @cached_property
    def images_key(self) -> str:
        """The hash of what tells SR images from those of another model or manner; a newer version's replace them."""
        return hash_of({"pixels": self._pixels})

    @cached_property
    def _making(self) -> dict[str, object]:
        info, placement = self.contender.info, self.placement
        return {
            "pixels": self._pixels,
            "source": info.source_sha256,
            "measuring": measuring_sha256(info.origin),
            "libraries": libraries(placement.execution.engine),
            "machine": machine(placement.device),
        }

    @cached_property
    def _pixels(self) -> list:
        info, placement, execution = self.contender.info, self.placement, self.placement.execution
        model = [info.label, info.origin, info.weights_sha256, info.data_range]
        tiles = [str(placement.tile), placement.tile_overlap]
        data, ran = [self.dataset.name, self.dataset.sha256], [execution.engine, execution.precision]
        return [model, data, placement.device, tiles, ran]


def is_final(record: Record) -> bool:
    """Tell whether a record answers its task: it is complete, or it must fail again like this."""
    return record.complete or (record.status == "failed" and record.state.follows_from_key and record.timing is None)


def carry_out_once(task: Task, on_image: Callable[[ImageResult], None]) -> Record:
    """Carry out a task once, in this process; whatever fails is a record."""
    if task.placement.threads is not None:
        torch.set_num_threads(task.placement.threads)
    started_at = datetime.now(UTC)
    try:
        with task.contender.open(task.placement, largest_lr(task.dataset)) as subject:
            job = Job(
                subject,
                task.dataset,
                task.protocol,
                task.with_ssim,
                task.images_dir,
                task.examined,
                task.placement.workers,
            )
            record = run(job, on_image)
    except Exception as error:
        record = _failed(task, started_at, error)
    return record.model_copy(update=_named(task))


def lost(task: Task, reason: str) -> Record:
    """Return the record of a task whose process died."""
    error = CannotRunError(State.KILLED, reason)
    return _failed(task, datetime.now(UTC), error).model_copy(update=_named(task))


def largest_lr(dataset: Dataset) -> ImageSize:
    """Return the size of a set's largest LR image."""
    return max(dataset.lr_sizes, key=lambda size: size.height * size.width)


def _named(task: Task) -> dict[str, str | None]:
    """Return what ties a record to its task."""
    folder = None if task.images_dir is None else "/".join(task.images_dir.parts[-2:])
    images = {"images_folder": folder, "images_key": folder and task.images_key}
    return {"key": task.key, "figures_key": task.figures_key, **images}


def _failed(task: Task, started_at: datetime, error: Exception) -> Record:
    """Return the record of a task of which no image was run."""
    device, execution = torch.device(task.placement.device), task.placement.execution
    failure, now = failure_of(error, State.FAILED_TO_BUILD), machine_state(device)
    return Record(
        **failure,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        model=task.contender.info,
        dataset=dataset_info(task.dataset),
        settings=Settings(
            protocol=task.protocol,
            device=task.placement.device,
            tile=task.placement.tile if isinstance(task.placement.tile, int) else None,
            tile_overlap=task.placement.tile_overlap,
            runs=task.runs,
            engine=execution.engine,
            precision=execution.precision,
        ),
        images=(),
        means={},
        complexity=None,
        peak_memory_mib=None,
        peak_memory_method=None,
        environment=describe_environment(device),
        before=now,
        after=now,
    )
