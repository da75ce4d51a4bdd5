"""Tiles cover the image, blend without a trace, and agree with the whole image."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eval.data.datasets import open_dataset
from eval.device.pixels import to_uint8
from eval.errors import UsageError
from eval.inference.tiling import Tiling, upscale_in_tiles
from eval.inference.upscaler import Upscaler
from eval.metrics.psnr_ssim import psnr
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.loading import load_network
from eval.zoo.manifest import ModelSpec, all_models
from models.window import Window

CPU = torch.device("cpu")
NETWORKS = [spec for spec in all_models() if spec.checkpoints]


@pytest.mark.parametrize("tile", [1, 2, 7, 16, 33, 100, 128])
@pytest.mark.parametrize("length", [1, 5, 16, 33, 100, 101, 257])
@pytest.mark.parametrize("step", [1, 6])
def test_tiles_cover_every_pixel_with_shares_that_sum_to_one(tile: int, length: int, step: int):
    for overlap in (None, 0, tile // 3):
        tiling = Tiling(tile, overlap, step)
        spans = tiling.spans(length)
        covered = np.zeros(length, int)
        for start, end in spans:
            assert 0 <= start < end <= length
            assert end - start <= tile
            covered[start:end] += 1
        assert covered.min() >= 1
        weights = tiling.weights(length, 4)
        assert weights.shape == (len(spans), 4 * length)
        assert torch.allclose(weights.sum(dim=0), torch.ones(4 * length))
        for share, (start, end) in zip(weights, spans, strict=True):
            assert share[: 4 * start].abs().sum() == 0
            assert share[4 * end :].abs().sum() == 0


def test_spans_by_hand():
    assert Tiling(100, 20).spans(100) == [(0, 100)]
    assert Tiling(100, 20).spans(260) == [(0, 100), (80, 180), (160, 260)]
    assert Tiling(100, 20).spans(270) == [(0, 100), (80, 180), (160, 260), (170, 270)]
    assert Tiling(10, 4, step=6).spans(23) == [(0, 10), (6, 16), (12, 22), (18, 23)]
    # Starts are multiples of 6; the last tile is the shorter for it.
    assert Tiling(128, 32, step=6).spans(256) == [(0, 128), (96, 224), (132, 256)]


def test_shares_by_hand():
    weights = Tiling(8, 4).weights(12, 1)
    # The outer quarter of the overlap counts nothing, the middle half is a ramp.
    assert weights[0].tolist() == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.25, 0, 0, 0, 0, 0])
    assert weights[1].tolist() == pytest.approx([0, 0, 0, 0, 0, 0.25, 0.75, 1, 1, 1, 1, 1])


def test_default_overlap():
    assert Tiling(256).shared == 32
    assert Tiling(128).shared == 32
    assert Tiling(64).shared == 16
    assert Tiling(3).shared == 0


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [(0, None, "--tile 0"), (64, 64, "--tile_overlap 64: expected 0 to 63"), (64, -1, "--tile_overlap -1")],
)
def test_refuses_tiles_that_cannot_cover(tile: int, overlap: int | None, message: str):
    with pytest.raises(UsageError, match=message):
        Tiling(tile, overlap)


@pytest.mark.parametrize(("height", "width", "tile"), [(50, 70, 16), (64, 64, 64), (33, 90, 40), (5, 300, 32)])
def test_a_local_upscaler_is_blended_without_a_trace(height: int, width: int, tile: int):
    lr = torch.rand(1, 3, height, width)
    seen, finished = [], []

    def finish(rows: torch.Tensor) -> np.ndarray:
        finished.append(rows.clone())
        return to_uint8(rows, 1.0)

    def upscale(part: torch.Tensor, window: Window) -> torch.Tensor:
        seen.append(part.shape[-2:])
        assert torch.equal(
            part, lr[..., window.top : window.top + part.shape[-2], window.left : window.left + part.shape[-1]]
        )
        assert (window.image_height, window.image_width) == (height, width)
        return part[0].repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)

    sr = upscale_in_tiles(lr, Tiling(tile), 4, upscale, finish)
    whole = torch.cat(finished, dim=1)
    assert (whole - lr[0].repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)).abs().max() < 1e-6
    assert np.array_equal(sr, to_uint8(whole, 1.0))
    assert max(max(size) for size in seen) <= tile


@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.name)
def test_tiles_agree_with_the_whole_image(spec: ModelSpec, esr_weights: Path, esr_data: Path):
    network = load_network(spec, find_checkpoint(spec))
    whole = Upscaler(spec, network, CPU)
    tiled = Upscaler(spec, network, CPU, Tiling(128, 32, spec.tile_step))
    lr, hr = open_dataset(esr_data, "Urban100").pairs[1].read()
    assert psnr(tiled(lr)[0], hr) == pytest.approx(psnr(whole(lr)[0], hr), abs=0.01)


@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.name)
def test_far_from_its_edges_a_tile_equals_the_whole_image(spec: ModelSpec):
    torch.manual_seed(0)
    network = spec.build()
    lr = np.random.default_rng(0).integers(0, 256, (40, 480, 3), dtype=np.uint8)
    whole, _ = Upscaler(spec, network, CPU)(lr)
    tiled, _ = Upscaler(spec, network, CPU, Tiling(360, 240, spec.tile_step))(lr)
    assert whole.shape == tiled.shape
    assert np.abs(whole.astype(int) - tiled.astype(int)).max() <= 1
