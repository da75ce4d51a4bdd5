"""What half precision gains on a device, measured: a processor's name does not tell it."""

import time

import torch
import torch.nn.functional as F

from eval.device.placing import finish

HALF_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# A layer of a small network: 48 channels, 3x3. In float32 it takes a core with AVX2 about a millisecond.
_CHANNELS, _SIDE = 48, 64
# On a GPU so many images at once: of a single one the time is that of starting the kernel, in any type.
_GPU_BATCH = 64
_RUNS, _LONGEST_S = 7, 0.1


def half_precision_gain(device: torch.device, precision: str) -> float:
    """Return how many times as fast as in float32 a convolution is in a precision on a device.

    Both take turns, on channels-last tensors; it takes some 50 ms, or 0.3 s where half precision is slow.
    """
    layout = torch.channels_last
    batch = 1 if device.type == "cpu" else _GPU_BATCH
    x = torch.rand(batch, _CHANNELS, _SIDE, _SIDE, device=device).contiguous(memory_format=layout)
    weight = torch.rand(_CHANNELS, _CHANNELS, 3, 3, device=device).contiguous(memory_format=layout)
    types = (torch.float32, HALF_TYPES[precision])
    times_s: dict[torch.dtype, list[float]] = {dtype: [] for dtype in types}
    with torch.inference_mode():
        operands = {dtype: (x.to(dtype), weight.to(dtype)) for dtype in types}
        for _ in range(_RUNS):
            for dtype, pair in operands.items():
                start_s = time.perf_counter()
                F.conv2d(*pair, padding=1)
                finish(device)
                times_s[dtype].append(time.perf_counter() - start_s)
            if times_s[types[1]][-1] > _LONGEST_S:
                break
    # The least, which other work of the machine disturbs least.
    full, half = map(min, times_s.values())
    return full / half
