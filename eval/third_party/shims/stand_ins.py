"""The few things that networks really take from torchvision, basicsr, mmcv, timm and others, to the same effect."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.third_party.shims import scans

# What mmcv adds unless it is told otherwise.
_RELU = {"type": "ReLU"}


def find(module: str, name: str) -> Any:
    """Return what stands in for a package's name; None if nothing does."""
    return _KNOWN.get((module.split(".")[0], name))


class ConvModule(nn.Module):
    """mmcv's convolution with batch normalisation and ReLU, each if asked for; the keys of its state are mmcv's."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = _RELU,
        conv_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        unknown = [cfg for cfg in (norm_cfg, act_cfg) if cfg and cfg["type"] not in ("BN", "ReLU")]
        if unknown or conv_cfg:
            raise ImportError(f"mmcv's ConvModule with {unknown or conv_cfg} is needed, and mmcv is not installed")
        options.setdefault("bias", norm_cfg is None)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, **options)
        self.bn = nn.BatchNorm2d(out_channels) if norm_cfg else None
        self.activate = nn.ReLU(inplace=True) if act_cfg else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, rectify."""
        for step in (self.conv, self.bn, self.activate):
            x = x if step is None else step(x)
        return x


class DropPath(nn.Module):
    """Stochastic depth, which at inference is the identity."""

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob, self.scale_by_keep = drop_prob, scale_by_keep

    def forward(self, x: Tensor) -> Tensor:
        """Return what comes; training is not possible here."""
        if self.training and self.drop_prob:
            raise ImportError("timm's DropPath in training is needed, and timm is not installed")
        return x


class Registry:
    """Registries of training frameworks: a class that is registered stays what it is."""

    def register(self, *arguments: Any, **_options: Any) -> Any:
        """Return what is decorated, or a decorator that does."""
        return arguments[0] if arguments and isinstance(arguments[0], type) else (lambda registered: registered)


def to_ntuple(count: int) -> Callable[[Any], tuple]:
    """Return a function that repeats a single value, and makes a tuple of several."""

    def repeated(value: Any) -> tuple:
        return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (*repeat(value, count),)

    return repeated


def pad(image: Tensor, padding: int | Sequence[int], fill: float = 0, padding_mode: str = "constant") -> Tensor:
    """Pad an image by one number, by (left and right, top and bottom), or by (left, top, right, bottom)."""
    sides = [padding] if isinstance(padding, int) else list(padding)
    left, top, right, bottom = {1: sides * 4, 2: sides * 2, 4: sides}[len(sides)]
    mode = "replicate" if padding_mode == "edge" else padding_mode
    amounts = (left, right, top, bottom)
    return F.pad(image, amounts, mode, value=fill) if mode == "constant" else F.pad(image, amounts, mode)


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """Subtract the channels' means, and divide by their standard deviations."""
    result = tensor if inplace else tensor.clone()
    means, stds = (torch.as_tensor(values, dtype=tensor.dtype).view(-1, 1, 1) for values in (mean, std))
    return result.sub_(means).div_(stds)


def progress(iterable: Iterable, *_arguments: Any, **_options: Any) -> Iterable:
    """Show no progress."""
    return iterable


_OF_LAYERS = {"to_2tuple": to_ntuple(2), "to_ntuple": to_ntuple, "trunc_normal_": nn.init.trunc_normal_}
_KNOWN = {
    ("mmcv", "ConvModule"): ConvModule,
    ("timm", "DropPath"): DropPath,
    **{(package, name): value for package in ("timm", "basicsr") for name, value in _OF_LAYERS.items()},
    ("basicsr", "ARCH_REGISTRY"): Registry(),
    ("torchvision", "pad"): pad,
    ("torchvision", "normalize"): normalize,
    ("tqdm", "tqdm"): progress,
    ("mamba_ssm", "selective_scan_fn"): scans.selective_scan_fn,
    ("mamba_ssm", "selective_scan_ref"): scans.selective_scan_fn,
    ("mamba_ssm", "Mamba"): scans.Mamba,
    ("mamba_ssm", "RMSNorm"): scans.RMSNorm,
    ("causal_conv1d", "causal_conv1d_fn"): scans.causal_conv1d_fn,
    ("span_attention", "span_attention"): scans.span_attention,
}
