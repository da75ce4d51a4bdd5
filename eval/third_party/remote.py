"""A submission in a sandbox, as a loaded model: pixels and times are taken here, outside of its reach."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from pydantic import ValidationError

from eval.data.images import to_uint8
from eval.data.pairs import SCALE
from eval.device.memory import MIB, PeakMemory
from eval.inference.engines.registry import PLAIN, Execution
from eval.inference.tiling import Tiling
from eval.metrics.complexity import complexity_flags
from eval.metrics.figures import Complexity, Flag, ModelAnalysis
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.third_party.connection import Connection
from eval.third_party.faults import one_line
from eval.zoo.model_info import ModelInfo

_FLOAT_BYTES = 4
# Outside of the timed forward a worker has only bytes to move: what takes longer may be hidden work.
_MOVING_S, _MOVING_BYTES_PER_S, _LATE_SHARE = 0.1, 50e6, 0.5
# An output of another range than the stated one is this many times brighter or darker than its input.
_RANGE_FACTOR = 10.0
_DARK = 0.02
_MOST_OPERATORS = 200


@dataclass
class SandboxedUpscaler:
    """A submission that its worker has loaded."""

    info: ModelInfo
    device: torch.device
    connection: Connection
    tiling: Tiling | None = None
    execution: Execution = PLAIN
    _late: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.info.label

    @property
    def processes(self) -> frozenset[int]:
        """Those of its sandbox."""
        return frozenset(self.connection.sandboxed.host_pids())

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        """Super-resolve one image; the time is from the request to the word that the output is there.

        Raises:
            CannotRunError: the worker failed, or what it returned is no SR image of its input.
        """
        height, width = lr.shape[:2]
        _, put_s = self.connection.ask("put", np.ascontiguousarray(lr).tobytes(), height=height, width=width)
        done, forward_s = self.connection.ask("go")
        expected = (1, 3, height * SCALE, width * SCALE)
        _check_shape(done.header, expected)
        count = math.prod(expected)
        answer, get_s = self.connection.ask("get", max_payload=count * _FLOAT_BYTES)
        sr = _checked_output(answer.payload, expected, lr, self.info.data_range)
        self._notice_late(put_s + get_s, forward_s, lr.nbytes + count * _FLOAT_BYTES)
        return to_uint8(sr[0], self.info.data_range), forward_s * 1000

    def _notice_late(self, around_s: float, forward_s: float, moved_bytes: int) -> None:
        """Remember a forward around which more time passed than moving its bytes takes."""
        spent_s = around_s - _MOVING_S - moved_bytes / _MOVING_BYTES_PER_S
        if spent_s > _LATE_SHARE * forward_s:
            self._late.append(f"{around_s * 1000:.0f} ms passed around a forward of {forward_s * 1000:.0f} ms")

    def analyse(self) -> ModelAnalysis:
        """Let the worker count and inspect the network: claims of a process that a stranger's code shares."""
        late = [Flag(code="late", text=f"works outside of the timed forward: {text}") for text in self._late[:1]]
        try:
            answer, _ = self.connection.ask("examine")
            complexity = _checked_complexity(answer.header)
        except CannotRunError as error:
            text = f"could not be counted ({error.state}): {error}"
            return ModelAnalysis(None, (Flag(code="uncounted", text=text), *late))
        return ModelAnalysis(complexity, (*complexity_flags(complexity), *_checked_flags(answer.header), *late))

    @contextmanager
    def peak_memory(self) -> Iterator[PeakMemory]:
        """Measure how far the worker's resident set rises, by the kernel's own mark; None where it cannot be reset."""
        peak = PeakMemory("resident set of the submission's process above its level before the set, high-water mark")
        self.connection.ask("settle")
        before = {pid: rss for pid in self.processes if (rss := _reset_mark(pid)) is not None}
        yield peak
        rises = [mark - rss for pid, rss in before.items() if (mark := _mark(pid)) is not None]
        peak.mib = max(rises) / MIB if rises else None

    def on_device(self) -> AbstractContextManager[None]:
        """Stay where it is: the worker ends with the submission."""
        return nullcontext()


def _check_shape(header: dict[str, Any], expected: tuple[int, ...]) -> None:
    shape, dtype = header.get("shape"), header.get("dtype")
    if shape != list(expected) or dtype not in ("float32", "float64", "float16", "bfloat16"):
        got = one_line(f"{dtype} {shape}"[:80])
        raise CannotRunError(State.INVALID_OUTPUT, f"expected a float output of shape {expected}, got {got}")


def _checked_output(payload: Any, expected: Sequence[int], lr: np.ndarray, data_range: float) -> torch.Tensor:
    """Return the output as a float32 tensor of a shape that was agreed on; refuse what cannot be an SR image."""
    if len(payload) != math.prod(expected) * _FLOAT_BYTES:
        raise CannotRunError(State.INVALID_OUTPUT, f"returned {len(payload):,} bytes for the shape {expected}")
    sr = np.frombuffer(payload, np.float32).reshape(expected)
    if not np.isfinite(sr).all():
        raise CannotRunError(State.INVALID_OUTPUT, "the output holds values that are not finite (NaN or inf)")
    mean_in, mean_out = float(lr.mean()) / 255, float(sr.mean(dtype=np.float64)) / data_range
    if mean_in > _DARK and not mean_in / _RANGE_FACTOR < mean_out < mean_in * _RANGE_FACTOR:
        raise CannotRunError(
            State.INVALID_OUTPUT,
            f"the output's mean is {mean_out:.3g} of the data range {data_range:g}, the input's {mean_in:.3g}: "
            "the data range seems to be another one",
        )
    return torch.from_numpy(sr)


def _checked_complexity(header: dict[str, Any]) -> Complexity:
    try:
        complexity = Complexity.model_validate(header.get("complexity"))
        numbers = [value for value in complexity.model_dump().values() if isinstance(value, int)]
        names = [*complexity.uncounted_ops, *complexity.suspect_ops, *complexity.flops_by_operator, *complexity.faults]
        numbers += [*complexity.uncounted_ops.values(), *complexity.flops_by_operator.values()]
        if not all(0 <= number < 2**60 for number in numbers) or len(names) > _MOST_OPERATORS:
            raise ValueError
    except (ValidationError, ValueError):
        raise CannotRunError(State.FAILED_TO_RUN, "its process returned no counts") from None
    uncounted = {one_line(name): count for name, count in complexity.uncounted_ops.items()}
    counted = {one_line(name): count for name, count in complexity.flops_by_operator.items()}
    suspect = tuple(map(one_line, complexity.suspect_ops))
    faults = {one_line(what): one_line(reason) for what, reason in complexity.faults.items()}
    plain = {"uncounted_ops": uncounted, "suspect_ops": suspect, "flops_by_operator": counted, "faults": faults}
    return complexity.model_copy(update=plain)


def _checked_flags(header: dict[str, Any]) -> list[Flag]:
    """Return the flags that the worker raised; one that is no flag is left out."""
    flags, claimed = [], header.get("flags")
    for claim in claimed[:10] if isinstance(claimed, list) else []:
        try:
            flag = Flag.model_validate(claim)
        except ValidationError:
            continue
        flags.append(Flag(code=flag.code, text=one_line(flag.text)))
    return flags


def _reset_mark(pid: int) -> int | None:
    """Make the kernel forget a process's peak; return its resident bytes now, or None if it may not be done."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        return psutil.Process(pid).memory_info().rss
    except (OSError, psutil.Error):
        return None


def _mark(pid: int) -> int | None:
    """Return the most bytes that a process had in memory, or None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
