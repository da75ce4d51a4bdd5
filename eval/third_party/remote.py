"""A submission in a sandbox, as a loaded model: its worker is asked, and nothing that it says is taken for granted.

Pixels and times are taken here, outside of its reach.
"""

import math
import signal
import time
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
from eval.metrics.trials import Trials
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.third_party.faults import one_line, plain_lines
from eval.third_party.sandbox import Sandboxed
from eval.third_party.wire import Message, SlowError, WireError, receive, send
from eval.zoo.model_info import ModelInfo

_FLOAT_BYTES = 4
_ASKED = {"load": "to be built and loaded", "examine": "to be counted", "try": "to be tried"}
# Outside of the timed forward a worker has only bytes to move: what takes longer may be hidden work.
_MOVING_S, _MOVING_BYTES_PER_S, _LATE_SHARE = 0.1, 50e6, 0.5
# An output of another range than the stated one is this many times brighter or darker than its input.
_RANGE_FACTOR = 10.0
_DARK = 0.02
_MOST_OPERATORS = 200
_MOST_MIB = 2**30


class Connection:
    """A conversation with the worker in a sandbox; each request has a limit of its own.

    Args:
        sandboxed: the worker's process.
        timeout_s: for one request, after which the worker is killed.
    """

    def __init__(self, sandboxed: Sandboxed, timeout_s: float) -> None:
        self.sandboxed, self._timeout_s = sandboxed, timeout_s

    def ask(self, operation: str, payload: bytes = b"", max_payload: int = 0, **header: Any) -> tuple[Message, float]:
        """Send a request; return the answer, and the seconds until its end, by this process's clock.

        Raises:
            CannotRunError: the worker says what failed, is not heard of in time, dies, or sends what is no answer.
        """
        deadline = time.monotonic() + self._timeout_s
        start_s = time.perf_counter()
        try:
            send(self.sandboxed.to_worker, Message({"op": operation, **header}, payload), deadline)
            answer = receive(self.sandboxed.from_worker, max_payload, deadline)
        except SlowError:
            self.sandboxed.kill()
            what = _ASKED.get(operation, "for one image")
            raise CannotRunError(State.TIMED_OUT, f"took more than {self._timeout_s:g} s {what}") from None
        except (WireError, OSError) as error:
            raise self._ending(error) from None
        elapsed_s = time.perf_counter() - start_s
        if "fault" in answer.header:
            raise _told(answer.header["fault"])
        return answer, elapsed_s

    def _ending(self, error: Exception) -> CannotRunError:
        """Say why there is no answer: because the worker died, or for what it sent."""
        deadline = time.monotonic() + 2
        while (reason := self.sandboxed.exit_reason()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if reason is None:
            self.sandboxed.kill()
            return CannotRunError(State.FAILED_TO_RUN, f"its process does not keep to the protocol: {error}")
        state = State.FAILED_TO_RUN
        if "MiB" in reason or "memory" in reason:
            state = State.OUT_OF_MEMORY
        elif "processor time" in reason:
            state = State.TIMED_OUT
        elif f"by signal {signal.SIGKILL.value}" in reason or f"by signal {signal.SIGTERM.value}" in reason:
            # By somebody else: a crash of its own has another signal.
            state = State.KILLED
        last = one_line(self.sandboxed.log_tail()[-300:])
        return CannotRunError(state, f"its process ended ({reason})" + (f"; it said: {last}" if last else ""))


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
        assert self.info.data_range is not None
        sr = _checked_output(answer.payload, expected, lr, self.info.data_range)
        self._notice_late(put_s + get_s, forward_s, lr.nbytes + count * _FLOAT_BYTES)
        return to_uint8(sr[0], self.info.data_range), forward_s * 1000

    def _notice_late(self, around_s: float, forward_s: float, moved_bytes: int) -> None:
        """Remember a forward around which more time passed than moving its bytes takes."""
        spent_s = around_s - _MOVING_S - moved_bytes / _MOVING_BYTES_PER_S
        if spent_s > _LATE_SHARE * forward_s:
            self._late.append(f"{around_s * 1000:.0f} ms passed around a forward of {forward_s * 1000:.0f} ms")

    def analyse(self) -> ModelAnalysis:
        """Let the worker count and inspect the network: claims of a process that third-party code shares."""
        late = [Flag(code="late", text=f"works outside of the timed forward: {text}") for text in self._late[:1]]
        try:
            answer, _ = self.connection.ask("examine")
            complexity = _checked_complexity(answer.header)
        except CannotRunError as error:
            text = f"could not be counted ({error.state}): {error}"
            return ModelAnalysis(None, (Flag(code="uncounted", text=text), *late))
        return ModelAnalysis(complexity, (*complexity_flags(complexity), *_checked_flags(answer.header), *late))

    def trials(self) -> Trials:
        """Let the worker try the network with inputs that an evaluation does not show it.

        Raises:
            CannotRunError: it fails for an ordinary image, or what comes back is no result.
        """
        answer, _ = self.connection.ask("try")
        try:
            return Trials.model_validate(_in_one_line(answer.header.get("trials")))
        except ValidationError:
            raise CannotRunError(State.FAILED_TO_RUN, "its process returned no results of trials") from None

    @contextmanager
    def peak_memory(self) -> Iterator[PeakMemory]:
        """Measure a GPU's peak as the worker tells it; on a CPU how far its resident set rises, by the kernel's mark.

        It is None where that mark cannot be reset.
        """
        if self.device.type == "cuda":
            peak = PeakMemory("CUDA allocator of the submission's process, peak reset before the set")
            self.connection.ask("settle")
            yield peak
            peak.mib = _checked_mib(self.connection.ask("peak")[0].header.get("mib"))
            return
        peak = PeakMemory("resident set of the submission's process above its level before the set, high-water mark")
        self.connection.ask("settle")
        before = {pid: rss for pid in self.processes if (rss := _reset_mark(pid)) is not None}
        yield peak
        rises = [mark - rss for pid, rss in before.items() if (mark := _mark(pid)) is not None]
        peak.mib = max(rises) / MIB if rises else None

    def on_device(self) -> AbstractContextManager[None]:
        """Stay where it is: the worker ends with the submission."""
        return nullcontext()


def _told(fault: Any) -> CannotRunError:
    """Return the fault that a worker reports, with a state of ours and a text that is safe to print."""
    fields = fault if isinstance(fault, dict) else {}
    try:
        state = State(fields.get("state"))
    except ValueError:
        state = State.FAILED_TO_RUN
    text, trace = fields.get("text"), fields.get("trace")
    state = State.FAILED_TO_RUN if state is State.RAN else state
    return CannotRunError(state, one_line(str(text or "no reason")), plain_lines(str(trace)) if trace else None)


def _checked_mib(told: Any) -> float | None:
    return told if type(told) is float and 0 <= told < _MOST_MIB else None


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


def _in_one_line(claim: Any) -> Any:
    """Return plain data with every text in it made safe to print."""
    if isinstance(claim, str):
        return one_line(claim)
    if isinstance(claim, list):
        return [_in_one_line(item) for item in claim[:_MOST_OPERATORS]]
    if isinstance(claim, dict):
        return {one_line(str(key)): _in_one_line(value) for key, value in list(claim.items())[:_MOST_OPERATORS]}
    return claim


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
