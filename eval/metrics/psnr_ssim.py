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
SSIM_TAPS = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA)
# Rows of windows at a time: arrays of a whole image leave the cache, and every pass over them waits for memory.
SSIM_BAND = 128


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
    squared_error = round(cv2.norm(sr, hr, cv2.NORM_L2SQR))
    if squared_error == 0:
        return math.inf
    return 20 * math.log10(PEAK / math.sqrt(squared_error / sr.size))


def ssim(sr: np.ndarray, hr: np.ndarray, crop_border: int = CROP_BORDER) -> float:
    """Return the structural similarity (Wang et al., IEEE TIP 2004), by the challenge template's definition.

    Gaussian window of 11x11 with sigma 1.5, K = (0.01, 0.03), L = 255, float64; the border is left out first, then
    only windows that lie fully inside count; the mean is over positions and channels. The filter is separable and
    the two variances are only ever needed as a sum, so four one-dimensional filter pairs do the template's work, band
    by band of rows.

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
    sr, hr = cropped_pair(sr, hr, crop_border, min_side=SSIM_WINDOW)
    rows = sr.shape[0] - SSIM_WINDOW + 1
    bands = (slice(top, min(top + SSIM_BAND, rows) + SSIM_WINDOW - 1) for top in range(0, rows, SSIM_BAND))
    total = math.fsum(_ssim_sum(sr[band], hr[band]) for band in bands)
    return total / (rows * (sr.shape[1] - SSIM_WINDOW + 1) * (sr.size // (sr.shape[0] * sr.shape[1])))


def _ssim_sum(sr: np.ndarray, hr: np.ndarray) -> float:
    """Return the sum of SSIM over all windows of a band of rows; arrays are reused, which keeps them in the cache."""
    x, y = sr.astype(np.float64), hr.astype(np.float64)
    mean_x, mean_y = _gaussian(x), _gaussian(y)
    covariance, product = _gaussian(x * y), mean_x * mean_y
    np.multiply(x, x, out=x)
    np.multiply(y, y, out=y)
    variances = _gaussian(np.add(x, y, out=x))
    np.multiply(mean_x, mean_x, out=mean_x)
    np.multiply(mean_y, mean_y, out=mean_y)
    squares = np.add(mean_x, mean_y, out=mean_x)
    covariance -= product
    variances -= squares
    # (2 product + C1)(2 covariance + C2) / ((squares + C1)(variances + C2)), in place
    for values, factor, constant in ((product, 2, SSIM_C1), (covariance, 2, SSIM_C2)):
        values *= factor
        values += constant
    squares += SSIM_C1
    variances += SSIM_C2
    product *= covariance
    squares *= variances
    product /= squares
    return float(product.sum())


def _gaussian(image: np.ndarray) -> np.ndarray:
    """Filter with the SSIM window and keep the positions where it lies fully inside the image."""
    margin = SSIM_WINDOW // 2
    return cv2.sepFilter2D(image, -1, SSIM_TAPS, SSIM_TAPS)[margin:-margin, margin:-margin]
