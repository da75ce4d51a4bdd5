"""The figures that a GPU computes, by the same code on the CPU: those of the CPU's own functions."""

import math
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from eval.metrics import on_device, psnr_ssim
from eval.metrics.registry import METRICS

CPU = torch.device("cpu")


@pytest.fixture(params=[(67, 83), (19, 19), (20, 300)])
def pair(request, random_image) -> tuple[np.ndarray, np.ndarray]:
    hr = random_image(*request.param)
    noise = np.random.default_rng(0).integers(-9, 10, hr.shape)
    return np.clip(hr + noise, 0, 255).astype(np.uint8), hr


def test_psnr_is_equal_to_the_last_bit(pair):
    assert on_device.psnr(*pair, CPU) == psnr_ssim.psnr(*pair)
    assert on_device.psnr(pair[1], pair[1], CPU) == math.inf


def test_the_squared_error_of_a_large_image_does_not_overflow():
    sr, hr = np.zeros((300, 300, 3), np.uint8), np.full((300, 300, 3), 255, np.uint8)
    assert on_device.psnr(sr, hr, CPU) == 0


def test_ssim_differs_by_the_order_of_its_sums_alone(pair):
    assert on_device.ssim(*pair, CPU) == pytest.approx(psnr_ssim.ssim(*pair), abs=1e-13)
    assert on_device.ssim(pair[1], pair[1], CPU) == 1


def test_where_memory_is_short_the_cpu_has_the_figure(pair, monkeypatch):
    """And the device has its memory back by then, for the network that runs meanwhile."""
    held, cpus_ssim, expected = [], psnr_ssim.ssim, psnr_ssim.ssim(*pair)

    def short(*_arguments: object) -> float:
        on_gpu = torch.zeros(1)
        held.append(weakref.ref(on_gpu))
        raise torch.OutOfMemoryError("CUDA out of memory")

    def by_cpu(*images: np.ndarray) -> float:
        assert held[0]() is None
        return cpus_ssim(*images)

    monkeypatch.setattr(on_device, "_ssim", short)
    monkeypatch.setattr(psnr_ssim, "ssim", by_cpu)
    assert on_device.ssim(*pair, CPU) == expected


def test_one_image_at_a_time_is_compared(pair, monkeypatch):
    """Threads that compare beside the network would fill the memory that it needs."""
    at_once, most = [], []

    def slow(*_arguments: object) -> float:
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.02)
        at_once.pop()
        return 1.0

    monkeypatch.setattr(on_device, "_ssim", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: on_device.ssim(*pair, CPU), range(8)))
    assert most == [1] * 8


@pytest.mark.parametrize("function", [on_device.psnr, on_device.ssim])
def test_what_cannot_be_compared_is_refused(function, random_image):
    with pytest.raises(ValueError, match="must have one shape"):
        function(random_image(40, 40), random_image(40, 44), CPU)
    with pytest.raises(TypeError, match="expected uint8"):
        function(np.zeros((40, 40, 3)), random_image(40, 40), CPU)


@pytest.mark.parametrize("name", METRICS)
def test_a_gpu_computes_what_it_can_and_the_cpu_the_rest(name: str, random_image, monkeypatch):
    asked = []
    for metric in ("psnr", "ssim"):
        monkeypatch.setattr(
            on_device, metric, lambda _sr, _hr, device, metric=metric: asked.append((metric, device)) or -7.0
        )
    sr, lr, gpu = random_image(48, 48), random_image(12, 12), torch.device("cuda")
    figure = METRICS[name].compute(sr, random_image(48, 48, 1), lr, gpu)
    assert asked == ([(name, gpu)] if name in ("psnr", "ssim") else [])
    assert (figure == -7.0) == bool(asked)
    assert isinstance(METRICS[name].compute(sr, random_image(48, 48, 1), lr, torch.device("mps")), float)
