"""Whether an SR image is one of its LR image: reduced again, it should be that image."""

from fractions import Fraction

import numpy as np

from eval.data.resize import imresize
from eval.metrics.psnr_ssim import psnr


def lr_psnr(sr: np.ndarray, lr: np.ndarray) -> float:
    """Return the PSNR in dB of an SR image, reduced by MATLAB's antialiased bicubic, to its LR image; no border.

    Args:
        sr: ``(s*h, s*w, 3)``, uint8.
        lr: ``(h, w, 3)``, uint8.

    Raises:
        ValueError: the sides of ``sr`` are not one multiple of those of ``lr``.
    """
    scale = sr.shape[0] // lr.shape[0]
    if sr.shape[:2] != (lr.shape[0] * scale, lr.shape[1] * scale):
        raise ValueError(f"expected an SR image whose sides are one multiple of {lr.shape}, got {sr.shape}")
    return psnr(imresize(sr, Fraction(1, scale)), lr, crop_border=0)
