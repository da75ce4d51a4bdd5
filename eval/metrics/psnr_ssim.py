"""The challenge's fidelity metrics, as pure functions on 8-bit RGB images."""

import math
from collections.abc import Iterator

import cv2
import numpy as np

from eval.metrics.windows import REACH, SSIM_WINDOW, WindowMeans

CROP_BORDER = 4
PEAK = 255.0
SSIM_C1 = (0.01 * PEAK) ** 2
SSIM_C2 = (0.03 * PEAK) ** 2
# Most windows down and across at a time: arrays of a whole image leave the cache, and every pass over them waits; of
# small ones each step waits for Python's lock, where several images are measured at once.
SSIM_TILE = (112, 352)
_CONSTANTS = 2 * np.array([SSIM_C1, SSIM_C2]).reshape(2, 1, 1)


def cropped_pair(sr: np.ndarray, hr: np.ndarray, crop_border: int, min_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Check a pair and return both images without their border."""
    for name, image in (("sr", sr), ("hr", hr)):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise TypeError(f"{name}: expected uint8 (h, w) or (h, w, channels), got {image.dtype} {image.shape}")
    if sr.shape != hr.shape:
        raise ValueError(f"sr and hr must have one shape, got {sr.shape} and {hr.shape}")
    height, width = hr.shape[:2]
    if crop_border < 0 or min(height, width) - 2 * crop_border < min_side:
        raise ValueError(
            f"a {width}x{height} image has less than {min_side} pixels a side left after a border of {crop_border}"
        )
    inside = (slice(crop_border, height - crop_border), slice(crop_border, width - crop_border))
    return sr[inside], hr[inside]


def psnr(sr: np.ndarray, hr: np.ndarray, crop_border: int = CROP_BORDER) -> float:
    """Return the peak signal-to-noise ratio in dB, over all samples inside the border together.

    ``10 log10(255**2 / MSE)`` on 8-bit values; the squared error is an exact integer.

    Args:
        sr: super-resolved image, ``(h, w, 3)`` or ``(h, w)``, uint8 in [0, 255].
        hr: ground truth of the same shape and type.
        crop_border: pixels left out on each side; the challenge's x4 protocol leaves out 4.

    Returns:
        dB; ``inf`` for identical images.

    Raises:
        TypeError: an image is not uint8 or has another number of axes.
        ValueError: shapes differ, or nothing is left inside the border.
    """
    sr, hr = cropped_pair(sr, hr, crop_border, min_side=1)
    # OpenCV's sum is off by less than a thousandth; it stands for an integer.
    return psnr_of(round(cv2.norm(sr, hr, cv2.NORM_L2SQR)), sr.size)


def psnr_of(squared_error: int, samples: int) -> float:
    """Return the PSNR in dB of 8-bit samples by the sum of their squared errors; ``inf`` where that is 0."""
    return 20 * math.log10(PEAK / math.sqrt(squared_error / samples)) if squared_error else math.inf


def ssim(sr: np.ndarray, hr: np.ndarray, crop_border: int = CROP_BORDER) -> float:
    """Return the structural similarity (Wang et al., IEEE TIP 2004), by the challenge template's definition.

    Gaussian window of 11x11 with sigma 1.5, K = (0.01, 0.03), L = 255, float64; the border is left out first, then
    only windows that lie fully inside count; the mean is over positions and channels.

    Of the sum ``s`` and the difference ``d`` of both images SSIM takes four filters instead of five. With ``S`` and
    ``D`` for their squared means, and ``vs`` and ``vd`` for their variances, it is ``(S - D + 2 C1)(vs - vd + 2 C2) /
    ((S + D + 2 C1)(vs + vd + 2 C2))``. Float64 is needed from the first filter on: a variance is a difference of means
    of up to 260100, which float32 keeps to 0.016, and beside 2 C2 = 117 that leaves four digits of SSIM.

    Arguments are those of ``psnr``. It is at most 1, and 1 for identical images.

    Raises:
        TypeError: an image is not uint8 or has another number of axes.
        ValueError: shapes differ, or less than one window is left inside the border.
    """
    sr, hr = cropped_pair(sr, hr, crop_border, min_side=SSIM_WINDOW)
    channels = list(zip(cv2.split(sr), cv2.split(hr), strict=True))
    rows, columns = (side - REACH for side in sr.shape[:2])
    means = WindowMeans(4, _tile_side(rows, SSIM_TILE[0]), _tile_side(columns, SSIM_TILE[1]))
    total = math.fsum(part for pair in channels for part in _ssim_sums(*pair, means))
    return total / (rows * columns * len(channels))


def _tile_side(windows: int, most: int) -> int:
    """Return the side of tiles that cover so many windows evenly."""
    return math.ceil(windows / math.ceil(windows / most))


def _ssim_sums(sr: np.ndarray, hr: np.ndarray, means: WindowMeans) -> Iterator[float]:
    """Yield the sum of SSIM over the windows of each tile of a channel."""
    x, y = sr.astype(np.int16), hr.astype(np.int16)
    added, subtracted = x + y, x - y
    factors = np.empty((2, means.rows, means.columns))
    for top in range(0, sr.shape[0] - REACH, means.rows):
        for left in range(0, sr.shape[1] - REACH, means.columns):
            tile = slice(top, top + means.rows + REACH), slice(left, left + means.columns + REACH)
            height, width = added[tile].shape
            # Samples beyond a smaller tile are of one before it: what they give is left out.
            inside = means.samples[:, :height, :width]
            inside[0], inside[1] = added[tile], subtracted[tile]
            np.multiply(inside[:2], inside[:2], out=inside[2:])
            values = _ssim_values(means.take(), factors)
            yield float(values[: height - REACH, : width - REACH].sum())


def _ssim_values(means: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return SSIM by window, from the means of sum, difference and their squares; both arrays are written over."""
    np.multiply(means[:2], means[:2], out=means[:2])
    np.subtract(means[2:], means[:2], out=means[2:])
    of_sum, of_difference = means[0::2], means[1::2]
    np.add(of_sum, _CONSTANTS, out=of_sum)
    np.subtract(of_sum, of_difference, out=factors)
    np.add(of_sum, of_difference, out=of_sum)
    above = np.multiply(factors[0], factors[1], out=factors[0])
    below = np.multiply(of_sum[0], of_sum[1], out=of_sum[0])
    return np.divide(above, below, out=above)
