"""Layers that several networks share.

Submodule names are the keys of the published checkpoints, so they are part of the contract.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.window import resize_map


def conv3x3(in_channels: int, out_channels: int, bias: bool = True) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size: stride 1, zero padding 1."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)


def conv1x1(in_channels: int, out_channels: int, bias: bool = True) -> nn.Conv2d:
    """Return a point-wise convolution."""
    return nn.Conv2d(in_channels, out_channels, 1, bias=bias)


def leaky_relu(x: Tensor) -> Tensor:
    """Apply leaky ReLU with the slope 0.05 that IMDN and its heirs use."""
    return F.leaky_relu(x, negative_slope=0.05)


def upsampler(channels: int, scale: int = 4, bias: bool = True) -> nn.Sequential:
    """Return the usual tail: a 3x3 convolution to ``3 * scale**2`` channels, then PixelShuffle."""
    return nn.Sequential(conv3x3(channels, 3 * scale**2, bias), nn.PixelShuffle(scale))


class ESA(nn.Module):
    """Enhanced spatial attention (RFANet, CVPR 2020): ``(N, C, h, w)`` to the same shape, h and w >= 15.

    The importance map is taken at about a sixth of the resolution, interpolated back, and only then passed
    through the sigmoid. ``deep=True`` is the map of RFDN and EFDN, three convolutions with ReLU between;
    otherwise it is a single convolution, as in RLFN and its heirs.
    """

    def __init__(self, channels: int, hidden: int, deep: bool = False) -> None:
        super().__init__()
        self.conv1 = conv1x1(channels, hidden)
        self.conv_f = conv1x1(hidden, hidden)
        if deep:
            self.conv_max = conv3x3(hidden, hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride=2)
        self.conv3 = conv3x3(hidden, hidden)
        if deep:
            self.conv3_ = conv3x3(hidden, hidden)
        self.conv4 = conv1x1(hidden, channels)
        self.deep = deep

    @staticmethod
    def cells(length: int) -> int:
        """Return how many cells of the importance map a side of ``length`` pixels has: stride 2, then pooling."""
        return ((length - 3) // 2 + 1 - 7) // 3 + 1

    def _importance(self, pooled: Tensor) -> Tensor:
        if not self.deep:
            return self.conv3(pooled)
        return self.conv3_(F.relu(self.conv3(F.relu(self.conv_max(pooled)))))

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv1(x)
        pooled = F.max_pool2d(self.conv2(reduced), kernel_size=7, stride=3)
        importance = resize_map(self._importance(pooled), x, self.cells, step=6)
        return x * torch.sigmoid(self.conv4(importance + self.conv_f(reduced)))
