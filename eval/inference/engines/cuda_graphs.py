"""CUDA graphs: a network's kernels are recorded once for each size of image, then started as one.

Small networks keep a GPU waiting for the CPU, which starts kernel after kernel; a replay starts them all at once.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from eval.config import FULL_PRECISION
from eval.device.clock import Forward
from eval.device.graphs import Recorder, Recording
from eval.device.memory import available_bytes
from eval.errors import EngineError
from eval.inference.engines import channels_last
from eval.inference.engines.precision import in_precision

# Of the memory that is free at first, what recordings may keep; the least recently used go first.
_SHARE = 1 / 4


def prepare(network: nn.Module, device: torch.device, precision: str) -> Forward:
    """Return a forward that replays the channels-last engine's; the first image of a size is recorded."""
    recorder, ready = Recorder(device), in_precision(network, precision)

    def record(x: Tensor) -> Recording:
        # A network of its own: what one keeps for a size, such as a grid, the next size would replace and free.
        try:
            # As it is: its layers are in their precision already.
            return recorder.record(channels_last.prepare(ready, device, FULL_PRECISION), x)
        except EngineError as error:
            raise EngineError(f"--engine cuda-graphs: {error}; use --engine channels-last") from error

    weights_bytes = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    return replaying(record, int(available_bytes(device) * _SHARE), weights_bytes)


def replaying(record: Callable[[Tensor], Recording], most_bytes: int, each_bytes: int = 0) -> Forward:
    """Return a forward that records each size once and then replays it; recordings keep at most ``most_bytes``.

    The least recently used ones go. Each keeps ``each_bytes`` besides its input and output.
    """
    recordings: OrderedDict[torch.Size, Recording] = OrderedDict()

    def forward(x: Tensor) -> Tensor:
        if x.shape not in recordings:
            recordings[x.shape] = record(x)
            while len(recordings) > 1 and sum(its.kept_bytes + each_bytes for its in recordings.values()) > most_bytes:
                recordings.popitem(last=False)
        recordings.move_to_end(x.shape)
        recording = recordings[x.shape]
        recording.x.copy_(x)
        recording.graph.replay()
        # The next replay writes over it.
        return recording.sr.clone()

    return forward
