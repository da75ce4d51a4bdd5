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


@dataclass
class Warmth:
    """What a model spent before its first sample."""

    cold_start_ms: float
    runs: int = 1
    total_ms: float = 0.0


def warm_up(upscalers: Sequence[Timed], index: int, inputs: Sequence[np.ndarray]) -> Warmth:
    """Run a model on each input size until three times in a row lie within 10%, at most ten times a size."""
    warmth = Warmth(cold_start_ms=time_one(upscalers, index, inputs[0]))
    warmth.total_ms = warmth.cold_start_ms
    for lr in {lr.shape: lr for lr in inputs}.values():
        times: list[float] = []
        while len(times) < MAX_WARMUP_RUNS and not _settled(times):
            times.append(time_one(upscalers, index, lr))
        warmth.runs += len(times)
        warmth.total_ms += sum(times)
    return warmth


def time_one(upscalers: Sequence[Timed], index: int, lr: np.ndarray) -> float:
    """Run one model on one image and return its time in ms.

    Raises:
        TimingError: it failed; networks can raise anything, ``SystemExit`` included.
    """
    try:
        return upscalers[index](lr)[1]
    except (Exception, SystemExit) as error:
        raise TimingError(index, error) from error


def _settled(times: Sequence[float]) -> bool:
    last = times[-SETTLED_RUNS:]
    return len(last) == SETTLED_RUNS and max(last) <= min(last) * (1 + SETTLED_SPREAD)
