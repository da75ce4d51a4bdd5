"""A submission in a sandbox, as a loaded model: its worker is asked, and nothing that it says is taken for granted.

Pixels and times are taken here, outside of its reach.
"""

import math
import signal
import time
from collections import defaultdict
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
from eval.metrics.figures import Complexity, Flag, FlagCode, ModelAnalysis
from eval.metrics.trials import Trials
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.third_party.account import Spent
from eval.third_party.faults import one_line, plain_lines
from eval.third_party.sandbox import Sandboxed
from eval.third_party.wire import Message, SlowError, WireError, receive, send
from eval.zoo.loading import stored_flags
from eval.zoo.model_info import ModelInfo

_FLOAT_BYTES = 4
_ASKED = {"load": "to be built and loaded", "examine": "to be counted", "try": "to be tried"}
# An output of another range than the stated one is this many times brighter or darker than its input.
_RANGE_FACTOR = 10.0
_DARK = 0.02
# Others can hold a worker up once; more often it is the worker.
_SLOW_SHARE = 0.25
_IRREGULAR: dict[FlagCode, str] = {
    "late": "works outside of the timed forward",
    "turn": "uses processors that are not its own",
}
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
        self.out_of_turn_s = 0.0

    def ask(self, operation: str, payload: bytes = b"", max_payload: int = 0, **header: Any) -> tuple[Message, float]:
        """Send a request; return the answer, and the seconds until its end, by this process's clock.

        Raises:
            CannotRunError: the worker says what failed, is not heard of in time, dies, or sends what is no answer.
        """
        self.out_of_turn_s += self.sandboxed.go_on()
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
    """A submission that its worker has loaded.

    Attributes:
        threads: that it was given.
        rests: its processes are stopped except while they are asked: others are timed meanwhile.
        irregular: what makes the time of the last image none that can be compared.
    """

    info: ModelInfo
    device: torch.device
    connection: Connection
    tiling: Tiling | None = None
    execution: Execution = PLAIN
    threads: int = 1
    rests: bool = False
    irregular: str | None = None
    _calls: int = 0
    _slow: list[str] = field(default_factory=list)
    _irregular: dict[FlagCode, list[str]] = field(default_factory=lambda: defaultdict(list))
    _odd_range: list[str] = field(default_factory=list)

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
        expected = (1, 3, height * SCALE, width * SCALE)
        sandboxed, connection = self.connection.sandboxed, self.connection
        connection.out_of_turn_s = sandboxed.go_on()
        used = [sandboxed.used()]
        _, put_s = connection.ask("put", np.ascontiguousarray(lr).tobytes(), height=height, width=width)
        used.append(sandboxed.used())
        done, forward_s = connection.ask("go")
        used.append(sandboxed.used())
        _check_shape(done.header, expected)
        answer, get_s = connection.ask("get", max_payload=math.prod(expected) * _FLOAT_BYTES)
        used.append(sandboxed.used())
        if self.rests:
            sandboxed.rest()
        moved_bytes = lr.nbytes + math.prod(expected) * _FLOAT_BYTES
        self._account(Spent.between(used, connection.out_of_turn_s, (put_s, forward_s, get_s), moved_bytes))
        assert self.info.data_range is not None
        sr = _checked_output(answer.payload, expected)
        self._notice_another_range(lr, sr)
        return to_uint8(sr[0], self.info.data_range), forward_s * 1000

    def _account(self, spent: Spent) -> None:
        """Remember what was irregular about an image."""
        self._calls += 1
        found = spent.irregularity(self.threads, on_cpu=self.device.type == "cpu")
        self.irregular = _IRREGULAR[found[0]] if found else None
        if found:
            self._irregular[found[0]].append(found[1])
        elif slow := spent.slowness():
            self._slow.append(slow)

    @property
    def run_flags(self) -> tuple[Flag, ...]:
        """A flag for each kind of irregularity so far, with the first case and how many there were."""
        found = dict(self._irregular)
        if "late" not in found and len(self._slow) > _SLOW_SHARE * self._calls:
            found["late"] = self._slow
        irregular = [
            Flag(code=code, text=f"{_IRREGULAR[code]}: {told[0]} ({len(told)} of {self._calls} times)")
            for code, told in found.items()
        ]
        return (*irregular, *(Flag(code="range", text=text) for text in self._odd_range))

    def kernels_ms(self, lr: np.ndarray) -> float | None:
        """Return None: a submission is timed by its worker's one clock."""
        return None

    def _notice_another_range(self, lr: np.ndarray, sr: torch.Tensor) -> None:
        """Remember an output whose mean lies far from its input's: a guess, since networks may do that."""
        data_range = self.info.data_range or 1.0
        mean_in, mean_out = float(lr.mean()) / 255, float(sr.mean(dtype=torch.float64)) / data_range
        if not self._odd_range and mean_in > _DARK and not mean_in / _RANGE_FACTOR < mean_out < mean_in * _RANGE_FACTOR:
            means = f"its output's mean is {mean_out:.3g} of the data range {data_range:g}, the input's {mean_in:.3g}"
            self._odd_range.append(f"{means}: perhaps it is untrained, or the data range is another one")

    def analyse(self) -> ModelAnalysis:
        """Let the worker count and inspect the network: claims of a process that third-party code shares."""
        own = stored_flags(self.info)
        try:
            answer, _ = self.connection.ask("examine")
            complexity = _checked_complexity(answer.header)
        except CannotRunError as error:
            text = f"could not be counted ({error.state}): {error}"
            return ModelAnalysis(None, (Flag(code="uncounted", text=text), *own))
        return ModelAnalysis(complexity, (*complexity_flags(complexity), *_checked_flags(answer.header), *own))

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
        # Of a process that came meanwhile, all is a rise.
        levels = dict.fromkeys(self.processes, 0) | before
        rises = [mark - rss for pid, rss in levels.items() if (mark := _mark(pid)) is not None] if before else []
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
        batch = "; the batch axis is missing: return it with [None]" if shape == list(expected[1:]) else ""
        got = one_line(f"{dtype} {tuple(shape)}{batch}" if isinstance(shape, list) and shape else str(dtype))
        raise CannotRunError(State.INVALID_OUTPUT, f"expected a float output of shape {expected}, got {got}")


def _checked_output(payload: Any, expected: Sequence[int]) -> torch.Tensor:
    """Return the output as a float32 tensor of a shape that was agreed on; refuse what cannot be an SR image."""
    if len(payload) != math.prod(expected) * _FLOAT_BYTES:
        raise CannotRunError(State.INVALID_OUTPUT, f"returned {len(payload):,} bytes for the shape {expected}")
    sr = np.frombuffer(payload, np.float32).reshape(expected)
    if not np.isfinite(sr).all():
        raise CannotRunError(State.INVALID_OUTPUT, "the output holds values that are not finite (NaN or inf)")
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
