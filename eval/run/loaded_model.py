"""What a run measures: a network that is ready on its device, in this process or in another one."""

import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from eval.data.images import ImageError
from eval.device.memory import PeakMemory, peak_memory
from eval.errors import EngineError, RunError, UsageError
from eval.inference.engines.registry import PLAIN, Execution
from eval.inference.tiling import Tiling
from eval.inference.upscaler import InvalidOutputError, Upscaler
from eval.metrics.behaviour import inspect
from eval.metrics.complexity import complexity_flags, measure_complexity
from eval.metrics.figures import Complexity, Flag
from eval.records.record import ModelInfo, State
from eval.zoo.checkpoints import Checkpoint, MissingWeightsError
from eval.zoo.manifest import ModelSpec


class CannotRunError(RunError):
    """A model cannot be run, for a reason that a table can show; ``trace`` is where that came from, elsewhere."""

    def __init__(self, state: State, reason: str, trace: str | None = None) -> None:
        super().__init__(reason)
        self.state, self.trace = state, trace


@dataclass(frozen=True)
class Examination:
    """What is found out about a network itself; nothing for one without weights."""

    complexity: Complexity | None = None
    flags: tuple[Flag, ...] = ()


class Subject(Protocol):
    """A network that is ready to run. Calling it super-resolves one image."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""

    @property
    def label(self) -> str:
        """Its name in tables."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def tiling(self) -> Tiling | None:
        """How images are cut; None for whole images."""

    @property
    def execution(self) -> Execution:
        """By which engine it runs, in which precision."""

    @property
    def processes(self) -> frozenset[int]:
        """The processes besides this one that work for it."""

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the SR image ``(4h, 4w, 3)`` uint8 of ``(h, w, 3)`` uint8, and the network's time in ms."""

    def examine(self) -> Examination:
        """Count it, and look for what its figures do not show."""

    def peak_memory(self) -> AbstractContextManager[PeakMemory]:
        """Measure the peak memory of a block of code that calls it."""

    def on_device(self) -> AbstractContextManager[None]:
        """Hold it on its device for a block of code."""


@dataclass(frozen=True)
class InProcess:
    """A network of the zoo, run by this process."""

    upscaler: Upscaler
    checkpoint: Checkpoint | None
    execution: Execution = PLAIN

    @property
    def info(self) -> ModelInfo:
        """Which model it is, with which weights."""
        return zoo_info(self.upscaler.spec, self.checkpoint)

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.upscaler.label

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.upscaler.device

    @property
    def tiling(self) -> Tiling | None:
        """How images are cut; None for whole images."""
        return self.upscaler.tiling

    @property
    def processes(self) -> frozenset[int]:
        """None: it is run by this process."""
        return self.upscaler.processes

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        """Super-resolve one image."""
        return self.upscaler(lr)

    def examine(self) -> Examination:
        """Count the network and inspect it; four forward passes each."""
        if self.checkpoint is None:
            return Examination()
        network, data_range = self.upscaler.network, self.upscaler.spec.data_range
        complexity = measure_complexity(network, data_range=data_range)
        return Examination(complexity, (*complexity_flags(complexity), *inspect(network, data_range)))

    def peak_memory(self) -> AbstractContextManager[PeakMemory]:
        """Measure the peak of the device, or of this process on a CPU."""
        return peak_memory(self.device)

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Hold the network on the device; several models may not fit there together."""
        try:
            self.upscaler.network.to(self.device)
            yield
        finally:
            self.upscaler.network.to("cpu")


def zoo_info(spec: ModelSpec, checkpoint: Checkpoint | None) -> ModelInfo:
    """Return what a record says of a model of the zoo."""
    return ModelInfo(
        **{key: getattr(spec, key) for key in ("id", "name", "label", "team", "scale", "data_range")},
        checkpoint=checkpoint and checkpoint.name,
        weights_file=checkpoint and checkpoint.path.name,
        weights_sha256=checkpoint and checkpoint.sha256,
        source_sha256=spec.source_sha256,
    )


def what_failed(error: BaseException, otherwise: State = State.FAILED_TO_RUN) -> tuple[State, str]:
    """Return the state and the reason that an error stands for; ``otherwise`` where it tells none of its own."""
    said = str(error) or "no reason given"
    if isinstance(error, CannotRunError):
        return error.state, said
    if isinstance(error, MissingWeightsError):
        return State.MISSING_CHECKPOINT, said
    if isinstance(error, EngineError):
        return State.ENGINE_FAILED, said
    # On the CPU torch reports exhausted memory as a plain RuntimeError.
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in said:
        return State.OUT_OF_MEMORY, "out of memory; use a smaller --tile"
    if "CUDA error" in said:
        return State.DEVICE_FAILED, said
    if isinstance(error, InvalidOutputError):
        return State.INVALID_OUTPUT, said
    if isinstance(error, (OSError, ImageError)):
        return State.IO_FAILED, said
    # torch's own errors are plain RuntimeErrors, whose type tells nothing.
    plain = type(error) is RuntimeError or isinstance(error, (RunError, UsageError))
    return otherwise, said if plain else f"{type(error).__name__}: {said}"


def failure_of(error: BaseException, otherwise: State = State.FAILED_TO_RUN) -> dict[str, str | None]:
    """Return what a record says of an error, with where it came from if nobody expected it."""
    state, reason = what_failed(error, otherwise)
    expected = isinstance(error, (RunError, UsageError, OSError, ImageError))
    trace = getattr(error, "trace", None) if expected else "".join(traceback.format_exception(error))
    return {"status": "failed", "state": state, "reason": reason, "traceback": trace}
