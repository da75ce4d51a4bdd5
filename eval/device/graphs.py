"""Recording a network's kernels as a CUDA graph, which starts them all as one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eval.device.placing import current

_WARM_UP_RUNS = 3


@dataclass(frozen=True)
class Recording:
    """A graph, the tensor it reads and the one it writes."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    sr: Tensor

    @property
    def kept_bytes(self) -> int:
        """What it keeps for itself: input and output; what lies between them, recordings share."""
        return self.x.nbytes + self.sr.nbytes


class Recorder:
    """Records forwards on one device. Its recordings share memory, so they are never replayed at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with current(device):
            self._pool: Any = torch.cuda.graph_pool_handle()
            self._side = torch.cuda.Stream()

    def record(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Recording:
        """Record a forward on inputs like ``x``, after runs on another stream, in which libraries set themselves up.

        Errors of other threads' CUDA calls do not break the recording off.
        """
        with current(self._device):
            kept = x.clone(memory_format=torch.channels_last)
            main = torch.cuda.current_stream()
            self._side.wait_stream(main)
            with torch.cuda.stream(self._side):
                for _ in range(_WARM_UP_RUNS):
                    run(kept)
            main.wait_stream(self._side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"):
                sr = run(kept)
        return Recording(graph, kept, sr)
