"""PSNR and SSIM: hand arithmetic, scikit-image, the definition written out, and the official code's figures."""

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import cv2
import numpy as np
import pytest
import skimage.metrics

from eval.files import PROJECT
from eval.metrics import psnr_ssim
from eval.metrics.psnr_ssim import psnr, ssim


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    hr = cv2.GaussianBlur(rng.integers(0, 256, (67, 83, 3), dtype=np.uint8), (0, 0), 2)
    noise = rng.normal(0, 6, hr.shape)
    return np.clip(hr + noise, 0, 255).astype(np.uint8), hr


def test_one_level_apart_is_48_13_db():
    hr = np.full((20, 30, 3), 100, np.uint8)
    assert psnr(hr + 1, hr) == pytest.approx(20 * math.log10(255), abs=1e-12)


def test_identical_images_have_infinite_psnr_and_ssim_one(pair):
    assert psnr(pair[1], pair[1]) == math.inf
    assert ssim(pair[1], pair[1]) == 1


def test_the_border_does_not_count(pair):
    sr, hr = pair
    spoilt = sr.copy()
    spoilt[:4], spoilt[-4:], spoilt[:, :4], spoilt[:, -4:] = 0, 0, 0, 0
    assert psnr(spoilt, hr) == psnr(sr, hr)
    assert ssim(spoilt, hr) == ssim(sr, hr)
    spoilt[4, 4] = 0
    assert psnr(spoilt, hr) < psnr(sr, hr)


def test_black_against_white_is_0_db_and_overflows_no_32_bits():
    assert psnr(np.zeros((300, 300, 3), np.uint8), np.full((300, 300, 3), 255, np.uint8)) == 0


def test_ssim_equals_its_definition_window_by_window(pair):
    sr, hr = (image[:31, :29] for image in pair)
    distance = np.arange(11) - 5
    gaussian = np.exp(-(distance**2) / (2 * 1.5**2))
    window = np.outer(gaussian, gaussian) / gaussian.sum() ** 2
    x, y = (image[4:-4, 4:-4].astype(float) for image in (sr, hr))
    values = []
    for channel in range(3):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                a, b = x[i : i + 11, j : j + 11, channel], y[i : i + 11, j : j + 11, channel]
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                covariance = (window * (a - mean_a) * (b - mean_b)).sum()
                c1, c2 = 2.55**2, 7.65**2
                numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
                values.append(numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    assert ssim(sr, hr) == pytest.approx(np.mean(values), abs=1e-9)


def test_grey_images_are_measured_as_they_are(pair):
    sr, hr = (image[..., 0] for image in pair)
    threefold = [np.repeat(image[..., None], 3, axis=2) for image in (sr, hr)]
    assert psnr(sr, hr) == pytest.approx(psnr(*threefold), abs=1e-12)
    assert ssim(sr, hr) == pytest.approx(ssim(*threefold), abs=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_refuses_what_it_cannot_compare(metric):
    image = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(TypeError, match="sr: expected uint8"):
        metric(image.astype(np.float32), image)
    with pytest.raises(ValueError, match=r"one shape, got \(40, 40, 3\) and \(40, 36, 3\)"):
        metric(image, image[:, :36])
    with pytest.raises(ValueError, match="8x8 image"):
        metric(image[:8, :8], image[:8, :8])
    with pytest.raises(TypeError, match=r"expected uint8 \(h, w\) or \(h, w, channels\), got uint8 \(1, 40, 40, 3\)"):
        metric(image[None], image[None])
    with pytest.raises(ValueError, match="after a border of -1"):
        metric(image, image, crop_border=-1)


def test_ssim_needs_one_window_inside_the_border():
    image = np.zeros((19, 19, 3), np.uint8)
    assert ssim(image, image) == 1
    with pytest.raises(ValueError, match="18x19 image has less than 11"):
        ssim(image[:, :18], image[:, :18])


@pytest.mark.parametrize("tile", [(1, 1), (8, 16), (40, 9), (150, 20), (10_000, 10_000)])
def test_ssim_is_the_same_in_tiles_of_any_size(monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int]):
    rng = np.random.default_rng(2)
    hr, sr = (rng.integers(0, 256, (160, 33), dtype=np.uint8) for _ in range(2))
    _, full = skimage.metrics.structural_similarity(
        hr.astype(float), sr.astype(float), data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    monkeypatch.setattr(psnr_ssim, "SSIM_TILE", tile)
    assert ssim(sr, hr, crop_border=0) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-12)


def test_ssim_keeps_its_digits_where_bright_images_are_flat():
    # Means of squares near 255 ** 2 leave a variance of a hundredth: the definition, in integers of any size.
    hr = np.full((40, 60), 254, np.uint8)
    sr = hr.copy()
    hr[::7, ::5], sr[::6, ::7] = 255, 255
    taps = [Fraction(float(tap)) for tap in np.exp(-((np.arange(11) - 5) ** 2) / 4.5)]
    window = [[a * b / sum(taps) ** 2 for b in taps] for a in taps]
    c1, c2, values = Fraction("6.5025"), Fraction("58.5225"), []
    for i in range(0, 22, 7):
        for j in range(0, 42, 9):
            patches = [image[i : i + 11, j : j + 11].tolist() for image in (sr, hr)]
            x, y, xx, yy, xy = (_mean(window, patches, of) for of in ("x", "y", "xx", "yy", "xy"))
            expected = (2 * x * y + c1) * (2 * (xy - x * y) + c2)
            expected /= (x * x + y * y + c1) * (xx - x * x + yy - y * y + c2)
            part = ssim(*(np.array(patch, np.uint8) for patch in patches), crop_border=0)
            values.append(abs(part - float(expected)))
    assert max(values) < 1e-12


def _mean(window: list[list[Fraction]], patches: list, of: str) -> Fraction:
    """Return the weighted mean of a product of two images' samples, exactly."""
    samples = {"x": patches[0], "y": patches[1]}
    cells = [(row, column) for row in range(11) for column in range(11)]
    return sum(window[r][c] * math.prod(samples[name][r][c] for name in of) for r, c in cells)


def test_ssim_is_the_same_to_the_last_bit_whatever_the_number_of_threads():
    code = (
        "import cv2, numpy as np; from eval.metrics.psnr_ssim import ssim; rng = np.random.default_rng(3);"
        "print(ssim(*(rng.integers(0, 256, (300, 2100, 3), dtype=np.uint8) for _ in range(2))).hex())"
    )
    figures = set()
    for threads in "18":
        count = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT, env=os.environ | count)
        figures.add(ran.stdout.strip())
    with ThreadPoolExecutor(4) as pool:
        rng = np.random.default_rng(3)
        pair = [rng.integers(0, 256, (300, 2100, 3), dtype=np.uint8) for _ in range(2)]
        figures |= {value.hex() for value in pool.map(lambda _: ssim(*pair), range(4))}
    assert len(figures) == 1
