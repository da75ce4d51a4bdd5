"""What half precision gains on a device, measured: a processor's name does not tell it."""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.device.placing import finish

HALF_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# A layer of a small network: 48 channels, 3x3. In float32 it takes a core with AVX2 about a millisecond.
_CHANNELS, _SIDE = 48, 64
# On a GPU so many images at once: of a single one the time is that of starting the kernel, in any type.
_GPU_BATCH = 64
_TURNS, _TURN_S, _LEAST_CALLS, _SLOW_S = 2, 0.02, 3, 0.1


def half_precision_gain(device: torch.device, precision: str) -> float:
    """Return how many times as fast as in float32 a convolution is in a precision on a device.

    Both take turns, on channels-last tensors; it takes some 0.1 s, or 0.3 s where half precision is slow.
    """
    layout = torch.channels_last
    batch = 1 if device.type == "cpu" else _GPU_BATCH
    x = torch.rand(batch, _CHANNELS, _SIDE, _SIDE, device=device).contiguous(memory_format=layout)
    weight = torch.rand(_CHANNELS, _CHANNELS, 3, 3, device=device).contiguous(memory_format=layout)
    with torch.inference_mode():
        pairs = [(x.to(dtype), weight.to(dtype)) for dtype in (torch.float32, HALF_TYPES[precision])]
        turns = [[_least_s(*pair) for pair in pairs] for _ in range(_TURNS)]
    full, half = map(min, zip(*turns, strict=True))
    return full / half


def _least_s(x: Tensor, weight: Tensor) -> float:
    """Return the least time of a convolution in a turn, which other work of the machine disturbs least.

    The first call does not count: it may load a library, or compile.
    """
    times_s: list[float] = []
    while len(times_s) <= _LEAST_CALLS or sum(times_s[1:]) < _TURN_S:
        start_s = time.perf_counter()
        F.conv2d(x, weight, padding=1)
        finish(x.device)
        times_s.append(time.perf_counter() - start_s)
        if len(times_s) > 1 and times_s[-1] > _SLOW_S:
            break
    return min(times_s[1:])
