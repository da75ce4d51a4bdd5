"""Parts measured alone: a network per engine and precision, the floor under it, the metrics, and time over size."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import fmean, median

import cv2
import numpy as np
import torch

from eval.config import Protocol, RunConfig
from eval.data.images import ImageSize
from eval.data.png import encode_png
from eval.metrics.complexity import measure_complexity
from eval.metrics.psnr_ssim import psnr, ssim
from eval.run.model_source import zoo_model
from eval.zoo.manifest import find_model

SIZE = (170, 256)
GEMM_SIDE = 2048
_WARM_UP_ROUNDS = 2
TEMPLATE_LIKE = "eager fp32, freed memory given back"


def interleaved_ms(clocks: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the median of each clock over rounds in which all take turns, after two runs of each to warm up.

    A clock runs something and returns its time in ms.
    """
    samples: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(rounds + _WARM_UP_ROUNDS):
        for name, clock in clocks.items():
            samples[name].append(clock())
    return {name: median(times[_WARM_UP_ROUNDS:]) for name, times in samples.items()}


def clocked(call: Callable[[], object]) -> Callable[[], float]:
    """Return a clock of a whole call."""

    def clock() -> float:
        start = time.perf_counter()
        call()
        return (time.perf_counter() - start) * 1e3

    return clock


def network_ms(setups: Sequence[tuple[str, str]], model: str = "3", rounds: int = 11) -> dict[str, float]:
    """Return the time of a network's forward on one image of ``SIZE`` by each engine and precision.

    ``TEMPLATE_LIKE`` is plain torch in a process that gives freed memory back, as the template's does.
    """
    with ExitStack() as stack:
        clocks = {TEMPLATE_LIKE: stack.enter_context(_in_plain_process(model))}
        for setup in setups:
            clocks[" ".join(setup)] = stack.enter_context(_opened(model, *setup))
        return interleaved_ms(clocks, rounds)


@contextmanager
def _opened(model: str, engine: str, precision: str) -> Iterator[Callable[[], float]]:
    """Give a function that runs a network once and returns its time in ms."""
    lr = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    with zoo_model(find_model(model)).open(_config(engine, precision), ImageSize(*SIZE)) as loaded:
        yield lambda: loaded(lr)[1]


def _config(engine: str, precision: str, tile: int | None = None) -> RunConfig:
    return RunConfig(protocol=Protocol.ACCURACY, device="cpu", engine=engine, precision=precision, tile=tile)


@contextmanager
def _in_plain_process(model: str) -> Iterator[Callable[[], float]]:
    """Give such a function that runs the network in a process of its own, which is left as torch ships it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, model), daemon=True)
    process.start()

    def run_once() -> float:
        ours.send(True)
        return ours.recv()

    try:
        yield run_once
    finally:
        ours.send(False)
        process.join()


def _serve(connection: Connection, model: str) -> None:
    with _opened(model, "eager", "fp32") as run_once:
        while connection.recv():
            connection.send(run_once())


def multiply_adds(model: str = "3") -> float:
    """Return a network's multiply-adds for one image of ``SIZE``, from the count at 256x256."""
    complexity = measure_complexity(find_model(model).build())
    return complexity.flops * SIZE[0] * SIZE[1] / complexity.input_side**2


def gemm_rate(dtype: torch.dtype) -> float:
    """Return the machine's multiply-adds a second in a large matrix product."""
    a, b = (torch.rand(GEMM_SIDE, GEMM_SIDE).to(dtype) for _ in range(2))
    with torch.inference_mode():
        times = interleaved_ms({"gemm": clocked(lambda: a @ b)}, rounds=9)
    return GEMM_SIDE**3 / (times["gemm"] / 1e3)


def metrics_ms(template: Callable[[np.ndarray, np.ndarray], float], ours: str, rounds: int) -> dict[str, float]:
    """Return the time of one metric by the template's function and by ours, and by how much their values differ."""
    rng = np.random.default_rng(0)
    hr = np.kron(rng.integers(0, 256, (85, 128, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    sr = np.clip(hr + rng.normal(0, 6, hr.shape), 0, 255).astype(np.uint8)
    function = {"psnr": psnr, "ssim": ssim}[ours]
    calls = {"template": lambda: template(sr, hr), "ours": lambda: function(sr, hr)}
    times = interleaved_ms({name: clocked(call) for name, call in calls.items()}, rounds)
    return times | {"difference": abs(float(template(sr, hr)) - function(sr, hr))}


def png_ms(pictures: Sequence[np.ndarray], rounds: int = 5) -> dict[str, float]:
    """Return the mean time to encode photographs as PNG by ours and by OpenCV's fastest way, and their sizes in kB."""
    fastest = (
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    )
    encoders = {
        "ours": encode_png,
        "opencv": lambda image: cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), fastest)[1].tobytes(),
    }
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    for picture in pictures:
        clocks = {name: clocked(partial(encode, picture)) for name, encode in encoders.items()}
        for name, ms in interleaved_ms(clocks, rounds).items():
            taken[name].append(ms)
    sizes = {f"{name}_kb": fmean(len(encode(its)) for its in pictures) / 1e3 for name, encode in encoders.items()}
    return {name: fmean(values) for name, values in taken.items()} | sizes


def seconds_by_megapixels(sides: Sequence[tuple[int, int]], setup: tuple[str, str]) -> dict[float, float]:
    """Return the seconds for one image over its SR megapixels, in tiles of 256 so that memory stays bounded."""
    taken = {}
    for height, width in sides:
        lr = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        with zoo_model(find_model("3")).open(_config(*setup, tile=256), ImageSize(height, width)) as loaded:
            loaded(lr)
            start = time.perf_counter()
            loaded(lr)
            taken[16 * height * width / 1e6] = time.perf_counter() - start
    return taken
