"""Devices, small inputs, invalid outputs, and the choice of tiles."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval import inference, timing
from eval.errors import RunError, UsageError
from eval.images import ImageSize
from eval.inference import InvalidOutputError, Upscaler, choose_tiling, pick_device, reflect_up_to
from eval.tiling import Tiling
from eval.zoo import find_model

CPU = torch.device("cpu")
SPEC = find_model("SPAN")
OUTPUTS = {
    "a NaN": (lambda y: y.index_fill(3, torch.tensor([0]), torch.nan), "not finite"),
    "an infinity": (lambda y: y / 0, "not finite"),
    "another size": (lambda y: y[..., :-1], r"expected a float output of shape \(1, 3, 32, 40\)"),
    "integers": (lambda y: y.to(torch.uint8), "got torch.uint8"),
    "a tuple": (lambda y: (y, y), "got tuple"),
    "nothing": (lambda y: None, "got NoneType"),
}


class Spoilt(nn.Module):
    """Nearest neighbour, spoilt."""

    def __init__(self, spoil) -> None:
        super().__init__()
        self.spoil = spoil

    def forward(self, x: Tensor) -> Tensor:
        return self.spoil(x.repeat_interleave(4, 2).repeat_interleave(4, 3))


@pytest.mark.parametrize("case", OUTPUTS)
@pytest.mark.parametrize("tiling", [None, Tiling(64)])
def test_outputs_that_are_no_image_are_refused(case: str, tiling: Tiling | None, random_image):
    spoil, message = OUTPUTS[case]
    with pytest.raises(InvalidOutputError, match=message):
        Upscaler(SPEC, Spoilt(spoil), CPU, tiling)(random_image(8, 10))


def test_values_outside_the_range_are_clamped(random_image):
    sr, _ = Upscaler(SPEC, Spoilt(lambda y: y * 4 - 1), CPU)(random_image(8, 10))
    expected = np.clip(np.rint(random_image(8, 10).astype(np.float32) * 4 - 255), 0, 255)
    assert np.abs(sr[::4, ::4] - expected).max() <= 1


def test_time_is_that_of_the_network(random_image, monkeypatch: pytest.MonkeyPatch):
    clock = [0]

    def half_a_second(y: Tensor) -> Tensor:
        clock[0] += 500_000_000
        return y

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter_ns=lambda: clock[0]))
    _, runtime_ms = Upscaler(SPEC, Spoilt(half_a_second), CPU)(random_image(8, 10))
    assert runtime_ms == 500


@pytest.mark.parametrize(
    ("length", "least", "order"),
    [(4, 7, [0, 1, 2, 3, 2, 1, 0]), (2, 7, [0, 1, 0, 1, 0, 1, 0]), (1, 3, [0, 0, 0]), (3, 8, [0, 1, 2, 1, 0, 1, 2, 1])],
)
def test_reflection_equals_numpy(length: int, least: int, order: list[int]):
    x = torch.arange(float(length)).reshape(1, 1, 1, length)
    reflected = reflect_up_to(x, least)
    assert reflected[0, 0, 0].tolist() == order
    assert reflected.shape == (1, 1, least, least)
    assert np.array_equal(order, np.pad(np.arange(length), (0, least - length), mode="reflect"))


def test_reflection_leaves_large_inputs_alone():
    x = torch.rand(1, 3, 15, 40)
    assert reflect_up_to(x, 15) is x


@pytest.mark.parametrize("name", ["RLFN", "PFDNLite", "SPAN", "Bicubic"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 40), (14, 2), (6, 6)])
@pytest.mark.parametrize("tiling", [None, Tiling(16), Tiling(4)])
def test_inputs_below_the_least_size_are_upscaled(name: str, height: int, width: int, tiling, random_image):
    spec = find_model(name)
    sr, _ = Upscaler(spec, spec.build(), CPU, tiling)(random_image(height, width))
    assert sr.shape == (4 * height, 4 * width, 3)
    assert sr.dtype == np.uint8


def test_a_small_input_is_what_reflection_makes_of_it(random_image):
    spec = find_model("RLFN")
    network, lr = spec.build(), random_image(10, 20)
    padded = np.pad(lr, ((0, 5), (0, 0), (0, 0)), mode="reflect")
    small, _ = Upscaler(spec, network, CPU)(lr)
    large, _ = Upscaler(spec, network, CPU)(padded)
    assert np.array_equal(small, large[:40])


def test_devices():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    for name in ("gpu", "cuda:x", "cpu:0", ""):
        with pytest.raises(UsageError, match=f"--device {name}: expected one of auto, cuda, cpu, mps"):
            pick_device(name)


def test_an_absent_device_is_an_error_and_no_fallback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cuda: not available; this machine has"):
        pick_device("cuda")


def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("mps")


@pytest.mark.parametrize(
    ("free_mib", "expected"),
    [(64_000, None), (2_000, Tiling(512, step=6)), (500, Tiling(256, step=6)), (20, Tiling(64, step=6))],
)
def test_auto_tiles_only_when_memory_would_not_do(monkeypatch: pytest.MonkeyPatch, free_mib: int, expected):
    monkeypatch.setattr(inference, "available_bytes", lambda _device: free_mib * 2**20)
    spec = find_model("PFDNLite")
    assert choose_tiling(spec, spec.build(), ImageSize(1080, 2048), CPU) == expected


def test_auto_refuses_when_no_tile_fits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inference, "available_bytes", lambda _device: 2**20)
    spec = find_model("PFDNLite")
    with pytest.raises(RunError, match="too little for the smallest tile"):
        choose_tiling(spec, spec.build(), ImageSize(1080, 2048), CPU)
