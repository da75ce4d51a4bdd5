"""Parts measured alone: a network per engine and precision, the floor under it, the metrics, and time over size."""

import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch

from eval.complexity import measure_complexity
from eval.contenders import Placement, zoo_model
from eval.engines.registry import Execution
from eval.images import ImageSize
from eval.metrics import psnr, ssim
from eval.zoo import find_model

SIZE = (170, 256)
GEMM_SIDE = 2048


def interleaved_ms(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median time of each call over rounds in which all take turns, after two calls of each to warm up."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            samples[name].append((time.perf_counter() - start) * 1e3)
    return {name: median(times) for name, times in samples.items()}


def network_ms(setups: Sequence[tuple[str, str]], model: str = "3", rounds: int = 11) -> dict[str, float]:
    """Return the time of a network's forward on one image of ``SIZE`` by each engine and precision."""
    lr = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    times: dict[str, list[float]] = {}
    contexts = [zoo_model(find_model(model)).open(_placement(*setup), ImageSize(*SIZE)) for setup in setups]
    subjects = {" ".join(setup): context.__enter__() for setup, context in zip(setups, contexts, strict=True)}
    for _ in range(rounds + 2):
        for name, subject in subjects.items():
            times.setdefault(name, []).append(subject(lr)[1])
    return {name: median(samples[2:]) for name, samples in times.items()}


def multiply_adds(model: str = "3") -> float:
    """Return a network's multiply-adds for one image of ``SIZE``, from the count at 256x256."""
    complexity = measure_complexity(find_model(model).build())
    return complexity.flops * SIZE[0] * SIZE[1] / complexity.input_side**2


def gemm_rate(dtype: torch.dtype) -> float:
    """Return the machine's multiply-adds a second in a large matrix product."""
    a, b = (torch.rand(GEMM_SIDE, GEMM_SIDE).to(dtype) for _ in range(2))
    with torch.inference_mode():
        times = interleaved_ms({"gemm": lambda: a @ b}, rounds=9)
    return GEMM_SIDE**3 / (times["gemm"] / 1e3)


def metrics_ms(template: Callable[[np.ndarray, np.ndarray], float], ours: str, rounds: int) -> dict[str, float]:
    """Return the time of one metric by the template's function and by ours, and by how much their values differ."""
    rng = np.random.default_rng(0)
    hr = np.kron(rng.integers(0, 256, (85, 128, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    sr = np.clip(hr + rng.normal(0, 6, hr.shape), 0, 255).astype(np.uint8)
    function = {"psnr": psnr, "ssim": ssim}[ours]
    times = interleaved_ms({"template": lambda: template(sr, hr), "ours": lambda: function(sr, hr)}, rounds)
    return times | {"difference": abs(float(template(sr, hr)) - function(sr, hr))}


def seconds_by_megapixels(sides: Sequence[tuple[int, int]], setup: tuple[str, str]) -> dict[float, float]:
    """Return the seconds for one image over its SR megapixels, in tiles of 256 so that memory stays bounded."""
    taken = {}
    placement = Placement("cpu", 256, execution=Execution(*setup))
    for height, width in sides:
        lr = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        with zoo_model(find_model("3")).open(placement, ImageSize(height, width)) as subject:
            subject(lr)
            start = time.perf_counter()
            subject(lr)
            taken[16 * height * width / 1e6] = time.perf_counter() - start
    return taken


def _placement(engine: str, precision: str) -> Placement:
    return Placement("cpu", None, execution=Execution(engine, precision))
