"""PSNR and SSIM where the network ran: the figures of ``psnr_ssim.py``, computed by a GPU from 8-bit images."""

import threading
from contextlib import suppress

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.device.transfer import to_device
from eval.metrics import psnr_ssim
from eval.metrics.psnr_ssim import CROP_BORDER, SSIM_C1, SSIM_C2, cropped_pair, psnr_of
from eval.metrics.windows import SSIM_TAPS, SSIM_WINDOW

# An SSIM holds some 300 bytes a pixel on the device, beside the network's own.
_ONE_AT_A_TIME = threading.Lock()


def psnr(sr: np.ndarray, hr: np.ndarray, device: torch.device) -> float:
    """Return PSNR in dB, equal to the last bit to that of the CPU: the squared error is an exact integer.

    Args:
        sr: super-resolved image, ``(h, w, 3)``, uint8.
        hr: ground truth of the same shape and type.
        device: where it is computed.
    """
    first, second = (image.short() for image in _inside(sr, hr, 1, device))
    return psnr_of(int((first - second).int().square().sum(dtype=torch.int64)), first.numel())


def ssim(sr: np.ndarray, hr: np.ndarray, device: torch.device) -> float:
    """Return SSIM in float64; arguments as for ``psnr``. Sums are taken in another order than on the CPU.

    Where the device's memory is too short for it, the CPU's own function has the same figure to 1e-13.
    """
    with suppress(torch.OutOfMemoryError), _ONE_AT_A_TIME:
        return _ssim(sr, hr, device)
    # Here the error is gone, which held all that was computed on the device until then.
    return psnr_ssim.ssim(sr, hr)


def _ssim(sr: np.ndarray, hr: np.ndarray, device: torch.device) -> float:
    x, y = (image.permute(2, 0, 1).unsqueeze(1).double() for image in _inside(sr, hr, SSIM_WINDOW, device))
    mean_x, mean_y, squares, products = _gaussian(torch.cat((x, y, x * x + y * y, x * y))).chunk(4)
    product, squared_means = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    luminance = (2 * product + SSIM_C1) / (squared_means + SSIM_C1)
    structure = (2 * (products - product) + SSIM_C2) / (squares - squared_means + SSIM_C2)
    return (luminance * structure).mean().item()


def _inside(sr: np.ndarray, hr: np.ndarray, min_side: int, device: torch.device) -> list[Tensor]:
    """Return both images without their border on the device, still as uint8."""
    pair = cropped_pair(sr, hr, CROP_BORDER, min_side)
    return [to_device(torch.from_numpy(np.ascontiguousarray(image)), device) for image in pair]


def _gaussian(maps: Tensor) -> Tensor:
    """Filter ``(n, 1, h, w)`` with the SSIM window, where it lies fully inside."""
    taps = torch.from_numpy(SSIM_TAPS).flatten().to(maps)
    return F.conv2d(F.conv2d(maps, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))
