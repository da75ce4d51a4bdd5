"""The clock. What is timed is the network alone: not decoding, not copies to the device, not metrics."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from eval.device.placing import current, finish

Forward = Callable[[Tensor], Tensor]


def timed(forward: Forward, x: Tensor) -> tuple[Tensor, float]:
    """Run ``forward(x)`` and return its output with the time it took on ``x``'s device, in ms.

    The device has finished all that was queued before the clock is read: a copy that is still under way would hide
    the time that starting the network takes. CUDA is timed by events on its own current stream, as in the challenge's
    template; other devices by the monotonic clock.
    """
    finish(x.device)
    if x.device.type == "cuda":
        with current(x.device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            output = forward(x)
            end.record()
            finish(x.device)
        return output, start.elapsed_time(end)
    start_ns = time.perf_counter_ns()
    output = forward(x)
    finish(x.device)
    return output, (time.perf_counter_ns() - start_ns) / 1e6
