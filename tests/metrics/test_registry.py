"""Every metric of the registry: values by hand, by scikit-image, and from the literature."""

import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import skimage.color
import skimage.metrics
import torch

from eval.data.datasets import open_dataset
from eval.data.resize import imresize
from eval.errors import RunError, UsageError
from eval.metrics.consistency import lr_psnr
from eval.metrics.luma import luma, psnr_y, ssim_y
from eval.metrics.registry import METRICS, OF_IMAGES, find_metrics
from eval.records.record import FIGURES, ImageResult, means_of
from eval.report.columns import COLUMNS, legend
from tests.records.test_record import make_record


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 81), ((0, 255, 0), 145), ((0, 0, 255), 41)],
)
def test_luma_by_hand(rgb: tuple[int, int, int], expected: int):
    # 16 + 65.481, + 128.553, + 24.966 for full red, green, blue.
    assert luma(np.full((2, 3, 3), rgb, np.uint8)).tolist() == [[expected] * 3] * 2


def test_luma_equals_scikit_image(random_image):
    image = random_image(40, 50)
    assert (luma(image) == np.round(skimage.color.rgb2ycbcr(image)[..., 0])).all()


@pytest.mark.parametrize(("shape", "dtype"), [((2, 2, 3), float), ((2, 3), np.uint8), ((2, 2, 4), np.uint8)])
def test_luma_refuses_other_images(shape: tuple, dtype: type):
    with pytest.raises(TypeError, match=re.escape(f"expected uint8 (h, w, 3), got {np.dtype(dtype)} {shape}")):
        luma(np.zeros(shape, dtype))


def test_metrics_of_luma_equal_scikit_image(random_image):
    sr, hr = random_image(40, 50), random_image(40, 50, 1)
    inside = [luma(image)[4:-4, 4:-4].astype(float) for image in (sr, hr)]
    expected = skimage.metrics.peak_signal_noise_ratio(*inside, data_range=255)
    assert psnr_y(sr, hr) == pytest.approx(expected, abs=1e-9)
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, full = skimage.metrics.structural_similarity(*inside, full=True, **options)
    assert ssim_y(sr, hr) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)


def _psnr_of(sr: np.ndarray, reference: np.ndarray) -> float:
    return skimage.metrics.peak_signal_noise_ratio(reference.astype(float), sr.astype(float), data_range=255)


def _ssim_of(sr: np.ndarray, hr: np.ndarray) -> float:
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, full = skimage.metrics.structural_similarity(sr.astype(float), hr.astype(float), full=True, **options)
    return float(full[5:-5, 5:-5].mean())


def _luma_of(image: np.ndarray) -> np.ndarray:
    return np.round(skimage.color.rgb2ycbcr(image)[..., 0])


def _reduced(image: np.ndarray) -> np.ndarray:
    """Torch's antialiased bicubic, which has Keys' kernel too, and other rounding in few pixels."""
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    small = torch.nn.functional.interpolate(planes, scale_factor=0.25, mode="bicubic", antialias=True)
    return small[0].permute(1, 2, 0).round().clamp(0, 255).numpy()


# A second implementation of each metric, of images without their border of 4 pixels, and of the LR image.
INDEPENDENT = {
    "psnr": lambda sr, hr, lr: _psnr_of(sr, hr),
    "ssim": lambda sr, hr, lr: np.mean([_ssim_of(sr[..., plane], hr[..., plane]) for plane in range(3)]),
    "psnr_y": lambda sr, hr, lr: _psnr_of(_luma_of(sr), _luma_of(hr)),
    "ssim_y": lambda sr, hr, lr: _ssim_of(_luma_of(sr), _luma_of(hr)),
    "lr_psnr": lambda sr, hr, lr: _psnr_of(_reduced(sr), lr),
}


# Where a half is rounded, one way here and another there: one level of one pixel, or of few.
ROUNDED = {"psnr_y": 2e-3, "ssim_y": 1e-4, "lr_psnr": 0.02}


def test_every_metric_has_the_value_of_a_second_implementation(random_image):
    assert INDEPENDENT.keys() == METRICS.keys(), "a new metric's second implementation goes into INDEPENDENT"
    smooth = np.clip(np.add.outer(np.arange(64) * 2, np.arange(80))[..., None] + np.array([10, 30, 50]), 0, 255)
    hr = np.clip(smooth + random_image(64, 80, 2) // 16, 0, 255).astype(np.uint8)
    sr = np.clip(hr.astype(int) + random_image(64, 80, 3) // 32 - 4, 0, 255).astype(np.uint8)
    lr = np.clip(imresize(hr, Fraction(1, 4)).astype(int) + random_image(16, 20, 4) // 8 - 16, 0, 255).astype(np.uint8)
    for name, row in METRICS.items():
        border = slice(4, -4) if row.needs == "hr" else slice(None)
        expected = INDEPENDENT[name](sr[border, border], hr[border, border], lr)
        assert row.compute(sr, hr, lr) == pytest.approx(expected, abs=ROUNDED.get(name, 1e-9)), name


def test_an_sr_image_that_reduces_to_its_lr_image_is_consistent(random_image):
    hr = random_image(48, 64)
    lr = imresize(hr, Fraction(1, 4))
    assert lr_psnr(hr, lr) == math.inf
    assert lr_psnr(hr, lr + (lr < 255)) == pytest.approx(20 * math.log10(255), abs=0.1)
    with pytest.raises(ValueError, match=r"sides are one multiple of \(12, 16, 3\), got \(48, 60, 3\)"):
        lr_psnr(hr[:, :60], lr)


def test_bicubic_on_set5_has_the_figures_of_the_literature(esr_data: Path):
    pairs = [pair.read() for pair in open_dataset(esr_data, "Set5").pairs]
    upscaled = [(imresize(lr, Fraction(4)), hr, lr) for lr, hr in pairs]
    means = {name: np.mean([row.compute(*images) for images in upscaled]) for name, row in METRICS.items()}
    assert means["psnr_y"] == pytest.approx(28.4177, abs=5e-5)
    assert means["ssim_y"] == pytest.approx(0.8101, abs=5e-5)
    assert means["psnr"] == pytest.approx(26.6934, abs=5e-5)


@pytest.mark.parametrize("name", METRICS)
def test_each_row_says_the_least_size_that_it_takes(name: str, random_image):
    row = METRICS[name]
    side = -(-row.least_side // 4) * 4
    lr = random_image(side // 4, side // 4)
    assert row.compute(random_image(side, side), random_image(side, side, 1), lr) is not None
    if row.needs == "hr":
        images = [random_image(row.least_side - 1, row.least_side - 1, seed) for seed in (0, 1)]
        with pytest.raises(ValueError, match="pixels a side left"):
            row.compute(*images, lr)
        assert row.compute(images[0], None, lr) is None


def test_metrics_are_found_once_and_in_order():
    assert [row.key for row in find_metrics(["ssim", "psnr", "ssim"])] == ["psnr_db", "ssim"]
    with pytest.raises(UsageError, match="--metrics lpips: no such metric; there are psnr, ssim, psnr_y, ssim_y"):
        find_metrics(["psnr", "lpips"])


@pytest.mark.parametrize("row", METRICS.values(), ids=METRICS)
def test_a_row_is_all_that_a_record_and_a_table_need(row):
    image = {"name": "a", "lr_height": 12, "lr_width": 9}
    images = [ImageResult(**image, **{row.key: value}) for value in (1.0, math.inf)]
    assert [ImageResult.model_validate_json(one.model_dump_json()) for one in images] == images
    record = make_record().model_copy(update={"images": tuple(images), "means": means_of(images)})
    assert record.mean(row.key) == math.inf
    assert row.key in FIGURES
    column = next(column for column in COLUMNS if column.key == row.key)
    assert (column.cell(record).text, column.heading.split()[0]) == ("inf", row.title.split()[0])
    assert f"{row.title}: {row.meaning}" in legend([record])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"key": "psnr_db"}, "expected a key of its own in each row; taken twice: psnr_db"),
        ({"key": "name"}, "taken twice: name"),
        ({"function": "eval.metrics.luma:psnr_z"}, "the function of mae, eval.metrics.luma:psnr_z: module"),
        ({"function": "eval.metrics.mea:mae"}, "the function of mae, eval.metrics.mea:mae: No module named"),
    ],
)
def test_a_faulty_row_is_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch, changes: dict, told: str):
    row = replace(METRICS["psnr_y"], **{"key": "mae_levels"} | changes)
    monkeypatch.setitem(METRICS, "mae", row)
    with pytest.raises(RunError, match=re.escape(told)):
        find_metrics(["psnr", "mae"])


def test_what_else_an_image_has_is_no_metrics_key():
    assert set(OF_IMAGES) | {row.key for row in METRICS.values()} >= ImageResult.model_fields.keys()
    assert set(OF_IMAGES) <= ImageResult.model_fields.keys()


def test_a_figure_that_a_later_version_took_is_kept():
    image = ImageResult.model_validate({"name": "a", "lr_height": 12, "lr_width": 9, "lpips": 0.1})
    assert image.figure("lpips") == 0.1
    assert '"lpips":0.1' in image.model_dump_json()
    assert means_of([image]) == {}
    with pytest.raises(ValueError, match="lpips"):
        ImageResult.model_validate({"name": "a", "lr_height": 12, "lr_width": 9, "lpips": "low"})
