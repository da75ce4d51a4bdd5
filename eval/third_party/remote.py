"""A submission in a sandbox, as a loaded model: its worker is asked, and nothing that it says is taken for granted.

Pixels and times are taken here, outside of its reach.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import ValidationError

from eval.data.pairs import SCALE
from eval.device.memory import MIB, PeakMemory, high_water, reset_high_water
from eval.device.pixels import to_uint8
from eval.inference.engines.registry import PLAIN, Execution
from eval.inference.outputs import range_flag
from eval.inference.tiling import Tiling
from eval.metrics.complexity import complexity_flags
from eval.metrics.figures import Flag, FlagCode, ModelAnalysis
from eval.metrics.trials import Trials
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.third_party import claims
from eval.third_party.account import Spent
from eval.third_party.apart import OpenGraph, checked_apart
from eval.third_party.connection import Connection
from eval.third_party.wire import MAX_GRAPH_BYTES
from eval.zoo.loading import stored_flags
from eval.zoo.model_info import ModelInfo

# Others can hold a worker up once; more often it is the worker.
_SLOW_SHARE = 0.25
_IRREGULAR: dict[FlagCode, str] = {
    "late": "works outside of the timed forward",
    "turn": "uses processors that are not its own",
}


@dataclass
class SandboxedUpscaler:
    """A submission that its worker has loaded.

    Attributes:
        threads: that it was given.
        rests: its processes are stopped except while they are asked: others are timed meanwhile.
        weights_bytes: the size of the files that its weights come from; None for one that has none.
        irregular: what makes the time of the last image none that can be compared.
        open_graph: starts a worker that holds a graph of it and none of its code; None where its counts are believed.
    """

    info: ModelInfo
    device: torch.device
    connection: Connection
    tiling: Tiling | None = None
    execution: Execution = PLAIN
    threads: int = 1
    rests: bool = False
    weights_bytes: int | None = None
    irregular: str | None = None
    open_graph: OpenGraph | None = None
    _calls: int = 0
    _seen: np.ndarray | None = None
    _slow: list[str] = field(default_factory=list)
    _irregular: dict[FlagCode, list[str]] = field(default_factory=lambda: defaultdict(list))
    _odd_range: list[Flag] = field(default_factory=list)

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
        expected = _sr_shape(lr)
        sandboxed, connection = self.connection.sandboxed, self.connection
        connection.out_of_turn_s = sandboxed.go_on()
        used = [sandboxed.used()]
        put_s = self._put(lr)
        used.append(sandboxed.used())
        done, forward_s = connection.ask("go")
        used.append(sandboxed.used())
        claims.check_shape(done.header, expected)
        payload, get_s = self._get(expected)
        used.append(sandboxed.used())
        self._seen = lr
        if self.rests:
            sandboxed.rest()
        moved_bytes = lr.nbytes + math.prod(expected) * claims.FLOAT_BYTES
        self._account(Spent.between(used, connection.out_of_turn_s, (put_s, forward_s, get_s), moved_bytes))
        assert self.info.data_range is not None
        sr = claims.checked_output(payload, expected)
        self._notice_another_range(lr, sr)
        return to_uint8(sr[0], self.info.data_range), forward_s * 1000

    def _put(self, lr: np.ndarray) -> float:
        """Send the worker an image, and return how long that took, in s."""
        height, width = lr.shape[:2]
        return self.connection.ask("put", np.ascontiguousarray(lr).tobytes(), height=height, width=width)[1]

    def _get(self, expected: tuple[int, ...]) -> tuple[bytes | bytearray | memoryview, float]:
        """Return the bytes of an output of a shape, and how long they took, in s."""
        answer, get_s = self.connection.ask("get", max_payload=math.prod(expected) * claims.FLOAT_BYTES)
        return answer.payload, get_s

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
        return (*irregular, *self._odd_range)

    def kernels_ms(self, lr: np.ndarray) -> float | None:
        """Return what a GPU itself works on an image, as the worker claims; no ratio rests on it. None on a CPU."""
        if self.device.type != "cuda":
            return None
        self._put(lr)
        answer, _ = self.connection.ask("alone")
        if self.rests:
            self.connection.sandboxed.rest()
        return claims.checked_ms(answer.header.get("ms"))

    def _notice_another_range(self, lr: np.ndarray, sr: torch.Tensor) -> None:
        """Remember the first output whose mean lies far from its input's."""
        data_range = self.info.data_range or 1.0
        mean_in, mean_out = float(lr.mean()) / 255, float(sr.mean(dtype=torch.float64)) / data_range
        if not self._odd_range and (flag := range_flag(mean_in, mean_out, data_range)):
            self._odd_range.append(flag)

    def analyse(self) -> ModelAnalysis:
        """Let the worker count and inspect the network: claims of a process that third-party code shares.

        Parameters and FLOPs are counted apart as well.
        """
        own = stored_flags(self.info)
        try:
            answer, _ = self.connection.ask("examine")
            complexity = claims.checked_complexity(answer.header)
            if fault := claims.disagreement(complexity.num_params, self.weights_bytes):
                own.append(Flag(code="counts", text=fault))
        except CannotRunError as error:
            text = f"could not be counted ({error.state}): {error}"
            return ModelAnalysis(None, (Flag(code="uncounted", text=text), *own))
        if self.open_graph and (complexity.flops, complexity.flops_by_dispatcher) == (None, None):
            own.append(Flag(code="counts", text="its counts are claims alone: it counted no FLOPs"))
        elif self.open_graph:
            complexity, told = checked_apart(self, complexity, self._seen, self.open_graph)
            own += told
        return ModelAnalysis(complexity, (*complexity_flags(complexity), *claims.checked_flags(answer.header), *own))

    def graph(self) -> bytes:
        """Return the network as a graph of torch's operators, as its worker gives it.

        Raises:
            CannotRunError: it cannot be traced.
        """
        return bytes(self.connection.ask("graph", max_payload=MAX_GRAPH_BYTES)[0].payload)

    def counted(self, lr: np.ndarray) -> tuple[np.ndarray, claims.GraphCounts]:
        """Super-resolve an image by a graph, and return what was counted meanwhile.

        Raises:
            CannotRunError: the graph cannot be run, or what comes back is no SR image, or no counts.
        """
        expected = _sr_shape(lr)
        self._put(lr)
        done, _ = self.connection.ask("count")
        claims.check_shape(done.header, expected)
        payload, _ = self._get(expected)
        assert self.info.data_range is not None
        sr = to_uint8(claims.checked_output(payload, expected)[0], self.info.data_range)
        return sr, claims.checked_counts(done.header.get("counts"))

    def trials(self) -> Trials:
        """Let the worker try the network with inputs that an evaluation does not show it.

        Raises:
            CannotRunError: it fails for an ordinary image, or what comes back is no result.
        """
        answer, _ = self.connection.ask("try")
        try:
            return Trials.model_validate(claims.in_one_line(answer.header.get("trials")))
        except ValidationError:
            raise CannotRunError(State.FAILED_TO_RUN, "its process returned no results of trials") from None

    def state(self) -> tuple[dict[str, torch.Tensor], bool]:
        """Return the network's state dict without values, as its worker tells it: names, and empty tensors of a type.

        With it comes whether the file holds the network itself, and no class or function that makes it.

        Raises:
            CannotRunError: what comes back is none.
        """
        told = self.connection.ask("state")[0].header
        return claims.checked_state(told.get("state")), told.get("is_held") is True

    @contextmanager
    def peak_memory(self) -> Iterator[PeakMemory]:
        """Measure a GPU's peak as the worker tells it; on a CPU how far its resident set rises, by the kernel's mark.

        It is None where that mark cannot be reset.
        """
        self.connection.ask("settle")
        if self.device.type == "cuda":
            peak = PeakMemory("CUDA allocator of the submission's process, peak reset before the set")
            yield peak
            peak.mib = claims.checked_mib(self.connection.ask("peak")[0].header.get("mib"))
            return
        peak = PeakMemory("resident set of the submission's process above its level before the set, high-water mark")
        before = {pid: rss for pid in self.processes if (rss := reset_high_water(pid)) is not None}
        yield peak
        # Of a process that came meanwhile, all is a rise.
        levels = dict.fromkeys(self.processes, 0) | before
        rises = [mark - rss for pid, rss in levels.items() if (mark := high_water(pid)) is not None] if before else []
        peak.mib = max(rises) / MIB if rises else None

    def on_device(self) -> AbstractContextManager[None]:
        """Stay where it is: the worker ends with the submission."""
        return nullcontext()


def _sr_shape(lr: np.ndarray) -> tuple[int, int, int, int]:
    height, width = lr.shape[:2]
    return 1, 3, height * SCALE, width * SCALE
