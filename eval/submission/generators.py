"""The ways in which the field makes LR images of x4, one row each. All map uint8 RGB to a quarter of its sides."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
from PIL import Image

from eval.data.pairs import SCALE
from eval.data.resize import contributions, imresize

# A reflected rim that is wider than the kernel's reach, and a multiple of the scale.
_RIM = 4 * SCALE
Generator = Callable[[np.ndarray], np.ndarray]


def matlab(hr: np.ndarray, mirrored: bool, in_float: bool) -> np.ndarray:
    """Return MATLAB's bicubic, with its edges clamped or mirrored, rounded after the first pass or only at the end."""
    rim = _RIM if mirrored else 0
    padded = np.pad(hr, ((rim, rim), (rim, rim), (0, 0)), mode="symmetric")
    small = _in_float(padded) if in_float else imresize(padded, Fraction(1, SCALE))
    cut = rim // SCALE
    return small[cut : small.shape[0] - cut, cut : small.shape[1] - cut]


def _in_float(image: np.ndarray) -> np.ndarray:
    values = image.astype(np.float64)
    for axis in (0, 1):
        values = np.moveaxis(values, axis, 0)
        weights, indices = contributions(len(values), len(values) // SCALE, Fraction(1, SCALE))
        total = np.zeros((len(weights), *values.shape[1:]))
        for weight, index in zip(weights.T, indices.T, strict=True):
            total += weight[:, None, None] * values[index]
        values = np.moveaxis(total, 0, axis)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def pillow(hr: np.ndarray) -> np.ndarray:
    """Return Pillow's bicubic, which is antialiased."""
    size = (hr.shape[1] // SCALE, hr.shape[0] // SCALE)
    return np.asarray(Image.fromarray(hr).resize(size, Image.Resampling.BICUBIC))


def opencv(hr: np.ndarray, interpolation: int) -> np.ndarray:
    """Return what OpenCV's resize gives."""
    return cv2.resize(hr, (hr.shape[1] // SCALE, hr.shape[0] // SCALE), interpolation=interpolation)


def torchs(hr: np.ndarray, antialias: bool) -> np.ndarray:
    """Return torch's bicubic of float32 in [0, 1], rounded to 8 bits."""
    import torch
    from torch.nn.functional import interpolate

    x = torch.from_numpy(hr.copy()).permute(2, 0, 1).unsqueeze(0).float().div(255)
    small = interpolate(x, scale_factor=1 / SCALE, mode="bicubic", antialias=antialias, align_corners=False)
    return small[0].clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()


GENERATORS: dict[str, Generator] = {
    "MATLAB bicubic": partial(matlab, mirrored=False, in_float=False),
    "MATLAB bicubic, mirrored edges": partial(matlab, mirrored=True, in_float=False),
    "MATLAB bicubic, float between passes": partial(matlab, mirrored=False, in_float=True),
    "MATLAB bicubic, mirrored, float": partial(matlab, mirrored=True, in_float=True),
    "Pillow bicubic": pillow,
    "OpenCV cubic": partial(opencv, interpolation=cv2.INTER_CUBIC),
    "OpenCV area": partial(opencv, interpolation=cv2.INTER_AREA),
    "torch bicubic, antialiased": partial(torchs, antialias=True),
    "torch bicubic": partial(torchs, antialias=False),
}
