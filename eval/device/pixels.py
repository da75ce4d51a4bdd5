"""8-bit pixels and tensors: uint8 arrays of shape (h, w, 3), and floats of shape (1, 3, h, w) or (3, h, w)."""

import cv2
import numpy as np
import torch

from eval.device.transfer import to_host

# Of an output at a time: half a MiB of float32.
_BAND_SAMPLES = 2**17


def to_tensor(image: np.ndarray, data_range: float) -> torch.Tensor:
    """Turn ``(h, w, 3)`` uint8 into ``(1, 3, h, w)`` float32 in ``[0, data_range]``, as the challenge's template."""
    # A copy, since the image may be read-only; the result is one in any case.
    chw = torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)
    return chw.float().div(255.0 / data_range).unsqueeze(0)


def to_uint8(output: torch.Tensor, data_range: float) -> np.ndarray:
    """Turn ``(3, h, w)`` float in about ``[0, data_range]`` into ``(h, w, 3)`` uint8, as the challenge's template.

    Clamp, scale by 255 / data_range, round halves to even; on a CPU in bands of rows, which stay in the cache from one
    of these steps to the next. The caller has checked that the values are finite.
    """
    if output.device.type != "cpu":
        return to_host(_levels(output, data_range).permute(1, 2, 0).contiguous()).numpy()
    _, height, width = output.shape
    rows = max(_BAND_SAMPLES // (3 * width), 1)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        band = _levels(output[:, top : top + rows], data_range)
        if band.is_contiguous():
            cv2.merge(list(band.numpy()), pixels[top : top + rows])
        else:
            pixels[top : top + rows] = band.permute(1, 2, 0).numpy()
    return pixels


def _levels(output: torch.Tensor, data_range: float) -> torch.Tensor:
    return output.float().clamp(0, data_range).mul_(255.0).div_(data_range).round_().to(torch.uint8)
