"""PSNR and SSIM of luma, which papers outside the challenge print (as "Y channel")."""

import numpy as np

from eval.metrics.psnr_ssim import CROP_BORDER, psnr, ssim

# MATLAB's rgb2ycbcr (ITU-R BT.601) for values in [0, 255]; luma lies in [16, 235].
_OFFSET = 16
_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255


def luma(image: np.ndarray) -> np.ndarray:
    """Return the luma of ``(h, w, 3)`` uint8 RGB as ``(h, w)`` uint8, rounded as MATLAB's rgb2ycbcr rounds it.

    Raises:
        TypeError: the image has another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"luma: expected uint8 (h, w, 3), got {image.dtype} {image.shape}")
    return np.floor(image @ _WEIGHTS + (_OFFSET + 0.5)).astype(np.uint8)


def psnr_y(sr: np.ndarray, hr: np.ndarray, crop_border: int = CROP_BORDER) -> float:
    """Return the PSNR in dB of the luma of two ``(h, w, 3)`` uint8 images; otherwise as ``psnr``."""
    return psnr(luma(sr), luma(hr), crop_border)


def ssim_y(sr: np.ndarray, hr: np.ndarray, crop_border: int = CROP_BORDER) -> float:
    """Return the SSIM of the luma of two ``(h, w, 3)`` uint8 images; otherwise as ``ssim``."""
    return ssim(luma(sr), luma(hr), crop_border)
