"""What a GPU tells beside the times: what it works itself on an image, and the energy that an image takes."""

import time
from collections.abc import Sequence
from statistics import fmean, median

import numpy as np

from eval.device.nvml import open_gpu
from eval.timing.outputs import fresh
from eval.timing.warmup import Timed, TimingError, run_one

ENERGY_WINDOW_S = 5.0
KERNEL_RUNS = 5


def kernels_ms(upscalers: Sequence[Timed], index: int, inputs: Sequence[np.ndarray]) -> float | None:
    """Return what a GPU itself works on an image; None if it cannot be told for one of them."""
    medians = []
    for lr in inputs:
        try:
            times = [upscalers[index].kernels_ms(lr) for _ in range(KERNEL_RUNS)]
        except (Exception, SystemExit) as error:
            raise TimingError(index, error) from error
        told = [ms for ms in times if ms is not None]
        if len(told) < len(times):
            return None
        medians.append(median(told))
    return fmean(medians)


def energy_mj(upscalers: Sequence[Timed], index: int, inputs: Sequence[np.ndarray]) -> float | None:
    """Return the energy an image takes, over a stretch long enough for a counter that moves every 0.1 s.

    None where no GPU counts it.
    """
    gpu, random = open_gpu(upscalers[index].device), np.random.default_rng()
    start_mj, start_s, images = gpu and gpu.energy_mj(), time.monotonic(), 0
    if gpu is None or start_mj is None:
        return None
    while time.monotonic() - start_s < ENERGY_WINDOW_S:
        for lr in inputs:
            run_one(upscalers, index, fresh(lr, random).lr)
        images += len(inputs)
    end_mj = gpu.energy_mj()
    return None if end_mj is None else (end_mj - start_mj) / images
