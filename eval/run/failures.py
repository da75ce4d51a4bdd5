"""What became of a model that did not run: the state and the reason that a table can show."""

import traceback
from typing import Literal, NamedTuple

from eval.data.images import ImageError
from eval.device.exhausted import is_exhausted
from eval.errors import EngineError, RunError, UsageError
from eval.inference.upscaler import InvalidOutputError, NoTileFitsError
from eval.records.record import State
from eval.timing.warmup import WorkerEndedError
from eval.zoo.checkpoints import MissingWeightsError
from eval.zoo.loading import CodeReplacedError, WeightsChangedError

# Errors of ours whose type tells the state.
_STATES = {
    MissingWeightsError: State.MISSING_CHECKPOINT,
    WeightsChangedError: State.FILES_CHANGED,
    CodeReplacedError: State.SOURCE_CHANGED,
    NoTileFitsError: State.OUT_OF_MEMORY,
    WorkerEndedError: State.KILLED,
    EngineError: State.ENGINE_FAILED,
}
# By Python and by the C++ library.
_NO_THREADS = ("can't start new thread", "Resource temporarily unavailable")
_DEVICE_FAILED = ("CUDA error", "CUDA driver error", "cuDNN error", "unable to find an engine to execute")


class CannotRunError(RunError):
    """A model cannot be run, for a reason that a table can show; ``trace`` is where that came from, elsewhere."""

    def __init__(self, state: State, reason: str, trace: str | None = None) -> None:
        super().__init__(reason)
        self.state, self.trace = state, trace


class Ending(NamedTuple):
    """How a run of a task ended, in the fields of its record."""

    status: Literal["complete", "interrupted", "failed"] = "complete"
    state: State = State.RAN
    reason: str | None = None
    traceback: str | None = None


def what_failed(error: BaseException, otherwise: State = State.FAILED_TO_RUN) -> tuple[State, str]:
    """Return the state and the reason that an error stands for; ``otherwise`` where it tells none of its own."""
    said = str(error) or "no reason given"
    if isinstance(error, CannotRunError):
        return error.state, said
    if known := next((state for kind, state in _STATES.items() if isinstance(error, kind)), None):
        return known, said
    if isinstance(error, ImportError):
        return State.MISSING_DEPENDENCY, f"{said}; install the package that has it, then run it again"
    if any(words in said for words in _NO_THREADS):
        return State.OUT_OF_MEMORY, f"{said}: end other processes, or raise the limit of them (ulimit -u)"
    if is_exhausted(error):
        return State.OUT_OF_MEMORY, "out of memory; use a smaller --tile"
    if any(words in said for words in _DEVICE_FAILED):
        return State.DEVICE_FAILED, said
    if isinstance(error, InvalidOutputError):
        return State.INVALID_OUTPUT, said
    if isinstance(error, (OSError, ImageError)):
        return State.IO_FAILED, said
    # torch's own errors are plain RuntimeErrors, whose type tells nothing.
    plain = type(error) is RuntimeError or isinstance(error, (RunError, UsageError))
    return otherwise, said if plain else f"{type(error).__name__}: {said}"


def failure_of(error: BaseException, otherwise: State = State.FAILED_TO_RUN) -> Ending:
    """Return what a record says of an error, with where it came from if nobody expected it."""
    state, reason = what_failed(error, otherwise)
    expected = isinstance(error, (RunError, UsageError, OSError))
    trace = getattr(error, "trace", None) if expected else "".join(traceback.format_exception(error))
    return Ending("failed", state, reason, trace)
