"""Devices, small inputs, invalid outputs, and the choice of tiles."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval.data.images import ImageSize
from eval.device import clock
from eval.errors import RunError
from eval.inference import upscaler
from eval.inference.tiling import Tiling
from eval.inference.upscaler import InvalidOutputError, Upscaler, choose_tiling, reflect_up_to
from eval.zoo.manifest import find_model
from models import window

CPU = torch.device("cpu")
SPEC = find_model("SPAN")
OUTPUTS = {
    "a NaN": (lambda y: y.index_fill(3, torch.tensor([0]), torch.nan), "not finite"),
    "an infinity": (lambda y: y / 0, "not finite"),
    "another size": (lambda y: y[..., :-1], r"expected a float output of shape \(1, 3, 32, 40\)"),
    "integers": (lambda y: y.to(torch.uint8), "got uint8"),
    "a tuple": (lambda y: (y, y), "got a tuple of 2: float32"),
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
    now_ns = [0]

    def half_a_second(y: Tensor) -> Tensor:
        now_ns[0] += 500_000_000
        return y

    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter_ns=lambda: now_ns[0]))
    _, runtime_ms = Upscaler(SPEC, Spoilt(half_a_second), CPU)(random_image(8, 10))
    assert runtime_ms == 500


@pytest.mark.parametrize(("length", "least"), [(4, 7), (2, 7), (1, 3), (3, 8)])
def test_reflection_equals_numpy(length: int, least: int):
    x = torch.arange(float(length)).reshape(1, 1, 1, length)
    reflected = reflect_up_to(x, least)
    assert reflected[0, 0, 0].tolist() == np.pad(np.arange(length), (0, least - length), mode="reflect").tolist()
    assert reflected.shape == (1, 1, least, least)


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


@pytest.mark.parametrize(
    ("free_mib", "expected"),
    [(64_000, None), (2_000, Tiling(512, step=6)), (500, Tiling(256, step=6)), (20, Tiling(64, step=6))],
)
def test_auto_tiles_only_when_memory_would_not_do(monkeypatch: pytest.MonkeyPatch, free_mib: int, expected):
    monkeypatch.setattr(upscaler, "available_bytes", lambda _device: free_mib * 2**20)
    spec = find_model("PFDNLite")
    assert choose_tiling(spec, spec.build(), ImageSize(1080, 2048), CPU) == expected


def test_auto_keeps_the_overlap_that_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upscaler, "available_bytes", lambda _device: 2**30)
    spec = find_model("PFDNLite")
    tilings = [choose_tiling(spec, spec.build(), ImageSize(1080, 2048), CPU, overlap) for overlap in (None, 16, 0)]
    assert len({tiling.tile for tiling in tilings}) == 1
    assert [tiling.shared for tiling in tilings] == [32, 16, 0]


@pytest.mark.parametrize(
    ("overlap", "message"),
    [
        (None, "1 MiB can be used on cpu, too little for tiles of 64 with an overlap of the default size"),
        (100, "too little for tiles of 128 with an overlap of 100; give --tile and --tile_overlap"),
    ],
)
def test_auto_refuses_when_no_tile_fits(monkeypatch: pytest.MonkeyPatch, overlap: int | None, message: str):
    monkeypatch.setattr(upscaler, "available_bytes", lambda _device: 2**20)
    spec = find_model("PFDNLite")
    with pytest.raises(RunError, match=message):
        choose_tiling(spec, spec.build(), ImageSize(1080, 2048), CPU, overlap)


def test_time_is_the_sum_over_tiles(monkeypatch: pytest.MonkeyPatch, random_image):
    times = iter([1.0, 2.0, 4.0, 8.0])
    monkeypatch.setattr(upscaler, "timed", lambda forward, x: (forward(x), next(times)))
    _, runtime_ms = Upscaler(SPEC, Spoilt(lambda y: y), CPU, Tiling(8, 0))(random_image(16, 16))
    assert runtime_ms == 15.0


def test_an_engines_forward_takes_the_networks_place(random_image):
    upscaler = Upscaler(SPEC, Spoilt(lambda y: y / 0), CPU, forward=Spoilt(lambda y: y))
    assert np.array_equal(upscaler(random_image(8, 10))[0][::4, ::4], random_image(8, 10))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_single_value_that_is_not_finite_is_seen(value: float, channels_last: bool, random_image):
    def spoil(y: Tensor) -> Tensor:
        y[0, 1, 5, 7] = value
        return y.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    with pytest.raises(InvalidOutputError, match="not finite"):
        Upscaler(SPEC, Spoilt(spoil), CPU)(random_image(8, 10))


def test_a_tile_is_told_where_it_lies(random_image):
    seen = []

    def note(y: Tensor) -> Tensor:
        seen.append(window._window.get())
        return y

    Upscaler(SPEC, Spoilt(note), CPU, Tiling(8, 0))(random_image(8, 16))
    assert seen == [window.Window(0, 0, 8, 16), window.Window(0, 8, 8, 16)]


@pytest.mark.parametrize(
    ("largest", "less", "expected"),
    [
        # 1,000 live bytes a pixel stand for 2,000; four fifths of the free memory hold 512 x 512 of them.
        (ImageSize(512, 512), 0, None),
        (ImageSize(512, 512), 5, Tiling(256, step=6)),
        (ImageSize(513, 512), 0, Tiling(512, step=6)),
    ],
)
def test_memory_is_counted_to_the_byte(monkeypatch: pytest.MonkeyPatch, largest: ImageSize, less: int, expected):
    monkeypatch.setattr(upscaler, "live_bytes_per_pixel", lambda _network: 1000.0)
    monkeypatch.setattr(upscaler, "available_bytes", lambda _device: 655_360_000 - less)
    spec = find_model("PFDNLite")
    assert choose_tiling(spec, nn.Identity(), largest, CPU) == expected


@pytest.mark.parametrize(("side", "probes"), [(128, 0), (129, 1)])
def test_an_ample_memory_leaves_the_network_cold(monkeypatch: pytest.MonkeyPatch, side: int, probes: int):
    probed = []
    monkeypatch.setattr(upscaler, "live_bytes_per_pixel", lambda network: probed.append(network) or 1.0)
    # 16 KiB for each of 128 x 128 pixels, in four fifths of the memory.
    monkeypatch.setattr(upscaler, "available_bytes", lambda _device: 5 * 2**26)
    assert choose_tiling(find_model("PFDNLite"), nn.Identity(), ImageSize(side, 128), CPU) is None
    assert len(probed) == probes
