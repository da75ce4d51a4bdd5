"""The image metrics, one row each: what a figure is called, how it is printed and how it is computed.

A new metric is a function and a row. Records, tables, CSV, the page and ``--metrics`` follow from the row. Nothing here
imports OpenCV: what reads records only needs the rows.
"""

import importlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal

from eval.errors import RunError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class Metric:
    """One row.

    Attributes:
        key: the figure's name in records, CSV and frames, with its unit.
        title: its heading in tables.
        unit: "dB", or "" for a number without one.
        decimals: to how many it is printed.
        needs: the image that the SR image is compared with.
        function: ``module:function`` of ``(sr, reference)``, both uint8 ``(h, w, 3)``, that returns the figure.
        on_gpu: the same of ``(sr, reference, device)``, if a GPU can do it.
        meaning: a sentence for the legend.
        least_side: the least height and width of an HR image in pixels.
        higher_is_better: which of two figures is the better one.
    """

    key: str
    title: str
    unit: str
    decimals: int
    needs: Literal["hr", "lr"]
    function: str
    meaning: str
    least_side: int = 9
    on_gpu: str | None = None
    higher_is_better: bool = True

    def function_on(self, device: "torch.device | None") -> str:
        """Return which function computes on a device; None, and any that is no GPU of CUDA, is the CPU."""
        return self.on_gpu if self.on_gpu and device is not None and device.type == "cuda" else self.function

    def compute(
        self, sr: "np.ndarray", hr: "np.ndarray | None", lr: "np.ndarray", device: "torch.device | None" = None
    ) -> float | None:
        """Return the figure of one image, ``inf`` dB for identical ones; None only where there is no HR image.

        Args:
            sr: super-resolved image, ``(4h, 4w, 3)``, uint8.
            hr: ground truth of the same shape, or None.
            lr: the input, ``(h, w, 3)``, uint8.
            device: where it is computed, as ``function_on`` has it.

        Raises:
            RunError: the function returns no number.
        """
        reference = {"hr": hr, "lr": lr}[self.needs]
        if reference is None:
            return None
        name = self.function_on(device)
        figure = _found(name)(sr, reference, *([device] if name == self.on_gpu else []))
        if not (isinstance(figure, Real) and figure > -math.inf):
            raise RunError(f"expected a number, got {figure!r}")
        return figure


def _found(function: str) -> Callable[..., float]:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


_ON_GPU = "eval.metrics.on_device"
_PSNR_SSIM, _LUMA, _CONSISTENCY = "eval.metrics.psnr_ssim", "eval.metrics.luma", "eval.metrics.consistency"
_RGB = "RGB, 8 bits, 4-pixel border, mean over images"
_Y = "MATLAB's luma rounded to 8 bits, 4-pixel border, mean over images"
_REDUCED = "of the SR image, reduced by MATLAB's bicubic, to the LR image; RGB, 8 bits, no border, mean over images"
# What a record says of an image besides its metrics.
OF_IMAGES = ("name", "lr_height", "lr_width", "runtime_ms")
# The order of columns. SSIM needs a window of 11 pixels inside the border.
METRICS = {
    "psnr": Metric("psnr_db", "PSNR", "dB", 2, "hr", f"{_PSNR_SSIM}:psnr", f"{_RGB}.", on_gpu=f"{_ON_GPU}:psnr"),
    "ssim": Metric("ssim", "SSIM", "", 4, "hr", f"{_PSNR_SSIM}:ssim", f"{_RGB}.", 19, f"{_ON_GPU}:ssim"),
    "psnr_y": Metric("psnr_y_db", "PSNR-Y", "dB", 2, "hr", f"{_LUMA}:psnr_y", f"{_Y}."),
    "ssim_y": Metric("ssim_y", "SSIM-Y", "", 4, "hr", f"{_LUMA}:ssim_y", f"{_Y}.", least_side=19),
    "lr_psnr": Metric("lr_psnr_db", "LR PSNR", "dB", 2, "lr", f"{_CONSISTENCY}:lr_psnr", f"{_REDUCED}."),
}


def find_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Return the rows of metrics by name, each once, in the registry's order.

    Raises:
        UsageError: one is unknown; the message lists those that exist.
        RunError: rows share a key, or one has another figure's, or the function of one of them cannot be imported.
    """
    keys = Counter([*OF_IMAGES, *(metric.key for metric in METRICS.values())])
    if shared := [key for key, count in keys.items() if count > 1]:
        raise RunError(f"{__name__}: expected a key of its own in each row; taken twice: {', '.join(shared)}")
    if unknown := [name for name in names if name not in METRICS]:
        raise UsageError(f"--metrics {', '.join(unknown)}: no such metric; there are {', '.join(METRICS)}")
    found = {name: metric for name, metric in METRICS.items() if name in names}
    for name, metric in found.items():
        for function in filter(None, (metric.function, metric.on_gpu)):
            try:
                _found(function)
            except (ImportError, AttributeError) as error:
                raise RunError(f"{__name__}: the function of {name}, {function}: {error}") from error
    return tuple(found.values())
