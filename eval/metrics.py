"""The challenge's fidelity metrics, as pure functions on 8-bit RGB images."""

import math

import cv2
import numpy as np

CROP_BORDER = 4
PEAK = 255.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = (0.01 * PEAK) ** 2
SSIM_C2 = (0.03 * PEAK) ** 2


def _cropped_pair(sr: np.ndarray, hr: np.ndarray, crop_border: int, min_side: int) -> tuple[np.ndarray, np.ndarray]:
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

    ``10 log10(255**2 / MSE)`` on 8-bit values; the squared error is summed in integers, so it is exact.

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
    sr, hr = _cropped_pair(sr, hr, crop_border, min_side=1)
    # Not one int32 dot product: 2**31 / 255**2 is only 33,025 samples.
    difference = cv2.absdiff(np.ascontiguousarray(sr), np.ascontiguousarray(hr))
    counts = np.bincount(difference.reshape(-1), minlength=256)
    squared_error = int(counts @ np.arange(256, dtype=np.int64) ** 2)
    if squared_error == 0:
        return math.inf
    return 20 * math.log10(PEAK / math.sqrt(squared_error / difference.size))


def ssim(sr: np.ndarray, hr: np.ndarray, crop_border: int = CROP_BORDER) -> float:
    """Return the structural similarity (Wang et al., IEEE TIP 2004), by the challenge template's definition.

    Gaussian window of 11x11 with sigma 1.5, K = (0.01, 0.03), L = 255, float64; the border is left out first, then
    only windows that lie fully inside count; the mean is over positions and channels. The filter is separable and
    the two variances are only ever needed as a sum, so four one-dimensional filter pairs do the template's work.

    Args:
        sr: super-resolved image, ``(h, w, 3)`` or ``(h, w)``, uint8 in [0, 255].
        hr: ground truth of the same shape and type.
        crop_border: pixels left out on each side.

    Returns:
        A number of at most 1, and 1 for identical images.

    Raises:
        TypeError: an image is not uint8 or has another number of axes.
        ValueError: shapes differ, or less than one window is left inside the border.
    """
    sr, hr = _cropped_pair(sr, hr, crop_border, min_side=SSIM_WINDOW)
    x, y = sr.astype(np.float64), hr.astype(np.float64)
    mean_x, mean_y = _gaussian(x), _gaussian(y)
    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    covariance = _gaussian(x * y) - product
    variances = _gaussian(x**2 + y**2) - squares
    luminance = (2 * product + SSIM_C1) / (squares + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variances + SSIM_C2)
    return float((luminance * structure).mean())


def _gaussian(image: np.ndarray) -> np.ndarray:
    """Filter with the SSIM window and keep the positions where it lies fully inside the image."""
    taps = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA)
    margin = SSIM_WINDOW // 2
    return cv2.sepFilter2D(image, -1, taps, taps)[margin:-margin, margin:-margin]
