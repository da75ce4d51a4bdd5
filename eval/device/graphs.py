"""Recording kernels as a CUDA graph, which starts them all as one: a network's, or a whole training step's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eval.device.placing import current
from eval.errors import EngineError, one_reason

WARM_UP_RUNS = 3


@dataclass(frozen=True)
class Recording:
    """A graph, the tensor it reads and the one it writes; ``run`` is kept, for the graph reads what it holds."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    sr: Tensor
    run: Callable[[Tensor], Tensor]

    @property
    def kept_bytes(self) -> int:
        """What it keeps for itself: input and output; what lies between them, recordings share."""
        return self.x.nbytes + self.sr.nbytes


@contextmanager
def _aside(side: torch.cuda.Stream) -> Iterator[None]:
    """Work on another stream for a block of code, after what the current one has to do, and before what comes next."""
    main = torch.cuda.current_stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):
        yield
    main.wait_stream(side)


@contextmanager
def _captured(graph: torch.cuda.CUDAGraph, side: torch.cuda.Stream, pool: Any) -> Iterator[None]:
    """Record a block of code; one that cannot be recorded, since it waits for the GPU, leaves nothing behind.

    torch ends the recording before it leaves the stream and gives the pool back; where the first fails it does neither,
    and every later call of this process would find it so.

    Raises:
        EngineError: it cannot be recorded; what broke the recording off says why, its end only says that something did.
    """
    main, device = torch.cuda.current_stream(), torch.cuda.current_device()
    try:
        # Errors of other threads' CUDA calls do not break it off.
        with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            yield
    except BaseException as error:
        torch.cuda.set_stream(main)
        # What says that the pool is no more in use has ended the recording itself.
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(device, pool)
            torch._C._cuda_releasePool(device, pool)
        why = error.__context__ or error
        if isinstance(why, torch.OutOfMemoryError) or not isinstance(why, RuntimeError):
            raise why from None
        raise EngineError(f"cannot be recorded as a CUDA graph: {one_reason(why)}") from error


class Recorder:
    """Records forwards on one device. Its recordings share memory, so they are never replayed at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with current(device):
            self._pool: Any = torch.cuda.graph_pool_handle()
            self._side = torch.cuda.Stream()

    def record(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Recording:
        """Record a forward on inputs like ``x``, after runs on another stream, in which libraries set themselves up."""
        with current(self._device):
            kept = x.clone(memory_format=torch.channels_last)
            with _aside(self._side):
                for _ in range(WARM_UP_RUNS):
                    run(kept)
            graph = torch.cuda.CUDAGraph()
            # A pool that a broken recording has given up takes no other.
            pool, self._pool = self._pool, torch.cuda.graph_pool_handle()
            with _captured(graph, self._side, pool):
                sr = run(kept)
            self._pool = pool
        return Recording(graph, kept, sr, run)


class ReplayedStep:
    """A function that is called again and again on tensors of the same shapes: recorded once, then replayed.

    What it changes besides, such as weights, it must change in place. The first calls run as they are, on another
    stream, so that libraries set themselves up; the recording itself, in the call after ``WARM_UP_RUNS`` of them,
    changes nothing. So each call counts once.
    """

    def __init__(self, run: Callable[..., Tensor], device: torch.device) -> None:
        self._run, self._device, self._calls = run, device, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        with current(device):
            self._side = torch.cuda.Stream()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return what the function returns; the next call writes over it."""
        with current(self._device):
            if self._graph is None and self._calls < WARM_UP_RUNS:
                self._calls += 1
                with _aside(self._side):
                    return self._run(*inputs)
            if self._graph is None:
                self._graph = self._recorded(*inputs)
            for kept, new in zip(self._inputs, inputs, strict=True):
                kept.copy_(new)
            self._graph.replay()
            return self._output

    def _recorded(self, *inputs: Tensor) -> torch.cuda.CUDAGraph:
        self._inputs = [given.clone() for given in inputs]
        graph = torch.cuda.CUDAGraph()
        with _captured(graph, self._side, torch.cuda.graph_pool_handle()):
            self._output = self._run(*self._inputs)
        return graph
