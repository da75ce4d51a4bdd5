"""The clock. What is timed is the network alone: not decoding, not copies to the device, not metrics."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from eval.device.placing import current, finish

Forward = Callable[[Tensor], Tensor]
# Of a delay on the GPU, in its clock's ticks: the first one is about 5 ms, and each further one twice the last.
_FIRST_DELAY, _DELAYS = 2**23, 6


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


def kernels_ms(forward: Forward, x: Tensor) -> float | None:
    """Return the time that a GPU itself works on ``forward(x)``, in ms; None on another device.

    On a fast GPU the CPU, which starts kernel after kernel, sets the time of ``timed`` for a small network. Here all of
    them are queued behind a delay before the first one may begin, so none waits for the CPU. Whether the delay was long
    enough is seen: it was not over when the last kernel had been queued. A forward that waits for the GPU in its midst,
    as to read a value back, cannot be queued as a whole: None too.
    """
    if x.device.type != "cuda":
        return None
    with current(x.device):
        for doubled in range(_DELAYS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            finish(x.device)
            torch.cuda._sleep(_FIRST_DELAY * 2**doubled)
            start.record()
            forward(x)
            end.record()
            queued_in_time = not start.query()
            finish(x.device)
            if queued_in_time:
                return start.elapsed_time(end)
    return None
