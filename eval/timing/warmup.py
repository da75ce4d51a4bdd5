"""Models that can be timed, and warming them up: what a model spends before its first sample counts for nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from eval.errors import RunError

SETTLED_RUNS = 3
SETTLED_SPREAD = 0.1
MAX_WARMUP_RUNS = 10


class Timed(Protocol):
    """A model that can be timed: calling it with ``(h, w, 3)`` uint8 returns the SR image and its time in ms."""

    @property
    def label(self) -> str:
        """Its name in tables."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    @property
    def processes(self) -> frozenset[int]:
        """The processes besides this one that work for it."""
        ...

    @property
    def irregular(self) -> str | None:
        """What makes the time of its last call none that can be compared, as in "works outside of its turn"."""
        ...

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        """Super-resolve an image."""
        ...

    def kernels_ms(self, lr: np.ndarray) -> float | None:
        """Return the time that a GPU itself works on an image; None where it cannot be told."""
        ...


class TimingError(RunError):
    """A model failed while it was timed, in whatever way; ``index`` is its place among the models."""

    def __init__(self, index: int, error: BaseException) -> None:
        super().__init__(str(error))
        self.index = index


class WorkerEndedError(RunError):
    """The process that works for a model has ended, by whatever cause."""


@dataclass
class Warmth:
    """What a model spent before its first sample, and by how many grey levels its outputs for one input differ."""

    cold_start_ms: float
    runs: int = 1
    total_ms: float = 0.0
    changes: int = 0


def warm_up(upscalers: Sequence[Timed], index: int, inputs: Sequence[np.ndarray]) -> Warmth:
    """Run a model on each input size until three times in a row lie within 10%, at most ten times a size."""
    first, cold_ms = run_one(upscalers, index, inputs[0])
    warmth = Warmth(cold_start_ms=cold_ms, total_ms=cold_ms)
    for lr in {lr.shape: lr for lr in inputs}.values():
        times: list[float] = []
        before = first if lr is inputs[0] else None
        while len(times) < MAX_WARMUP_RUNS and not _settled(times):
            sr, runtime_ms = run_one(upscalers, index, lr)
            times.append(runtime_ms)
            before = sr if before is None else before
            warmth.changes = max(warmth.changes, _difference(before, sr))
        warmth.runs += len(times)
        warmth.total_ms += sum(times)
    return warmth


def run_one(upscalers: Sequence[Timed], index: int, lr: np.ndarray) -> tuple[np.ndarray, float]:
    """Run one model on one image and return the SR image and its time in ms.

    Raises:
        TimingError: it failed; networks can raise anything, ``SystemExit`` included.
    """
    try:
        return upscalers[index](lr)
    except (Exception, SystemExit) as error:
        raise TimingError(index, error) from error


def _difference(first: np.ndarray, second: np.ndarray) -> int:
    """Return by how many grey levels two images of one size differ at most."""
    if np.array_equal(first, second):
        return 0
    return int(np.abs(first.astype(np.int16) - second.astype(np.int16)).max())


def _settled(times: Sequence[float]) -> bool:
    last = times[-SETTLED_RUNS:]
    return len(last) == SETTLED_RUNS and max(last) <= min(last) * (1 + SETTLED_SPREAD)
