"""CUDA graphs: a network's kernels are recorded once for each size of image, then started as one.

Small networks keep a GPU waiting for the CPU, which starts kernel after kernel; a replay starts them all at once.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eval.device.clock import Forward
from eval.inference.engines import channels_last

# Each recording holds its input and output; the least recently used go first.
MOST_SIZES = 32
_WARM_UP_RUNS = 3


@dataclass(frozen=True)
class Recording:
    """A graph, the tensor it reads and the one it writes."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    sr: Tensor


def prepare(network: nn.Module, device: torch.device, precision: str) -> Forward:
    """Return a forward that replays the channels-last engine's; the first image of a size is recorded."""
    run = channels_last.prepare(network, device, precision)
    # What lies between input and output is shared: recordings are never replayed at the same time.
    pool = torch.cuda.graph_pool_handle()

    def record(x: Tensor) -> Recording:
        """Record a forward on inputs like ``x``, after runs on another stream, in which libraries set themselves up."""
        with torch.cuda.device(x.device):
            kept = x.clone(memory_format=torch.channels_last)
            main, side = torch.cuda.current_stream(), torch.cuda.Stream()
            side.wait_stream(main)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP_RUNS):
                    run(kept)
            main.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                sr = run(kept)
        return Recording(graph, kept, sr)

    return replaying(record)


def replaying(record: Callable[[Tensor], Recording]) -> Forward:
    """Return a forward that records each size once and then replays it."""
    recordings: OrderedDict[torch.Size, Recording] = OrderedDict()

    def forward(x: Tensor) -> Tensor:
        if x.shape not in recordings:
            if len(recordings) == MOST_SIZES:
                recordings.popitem(last=False)
            recordings[x.shape] = record(x)
        recordings.move_to_end(x.shape)
        recording = recordings[x.shape]
        recording.x.copy_(x)
        recording.graph.replay()
        # The next replay writes over it.
        return recording.sr.clone()

    return forward
