"""EFDN: Wang, "Edge-enhanced Feature Distillation Network for Efficient Super-Resolution", CVPRW 2022.

arXiv 2204.08759. Baseline of the 2025 challenge; deploy form, edge-oriented branches fused.
"""

import torch
from torch import Tensor, nn

from models.layers import ESA, conv1x1, conv3x3, upsampler


class PointwisePReLU(nn.Module):
    """A 1x1 convolution and a PReLU with one slope a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1x1 = conv1x1(channels, channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv1x1(x))


class FusedPReLU(nn.Module):
    """The edge-enhanced convolution after fusing, and its PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rep_conv = conv3x3(channels, channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.rep_conv(x))


class Cell(nn.Module):
    """Distil half of the channels from the input and from each of three convolutions, fuse, attend, add the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = PointwisePReLU(channels)
        self.conv2 = FusedPReLU(channels)
        self.conv3 = FusedPReLU(channels)
        self.fuse = conv1x1(2 * channels, channels)
        self.att = ESA(channels, hidden=channels // 4, deep=True)
        self.branch = nn.ModuleList(conv1x1(channels, channels // 2) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for conv in (self.conv1, self.conv2, self.conv3):
            features.append(conv(features[-1]))
        distilled = [branch(f) for branch, f in zip(self.branch, features, strict=True)]
        return self.att(self.fuse(torch.cat(distilled, dim=1))) + x


class EFDN(nn.Module):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 1], the output clamped; h and w of at least 15."""

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        self.head = conv3x3(3, channels)
        self.cells = nn.ModuleList(Cell(channels) for _ in range(4))
        self.local_fuse = nn.ModuleList(conv1x1(2 * channels, channels) for _ in range(3))
        self.tail = upsampler(channels)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        first = self.cells[0](shallow)
        second = self.cells[1](first)
        third = self.cells[2](self.local_fuse[0](torch.cat((first, second), dim=1)))
        fourth = self.cells[3](self.local_fuse[1](torch.cat((second, third), dim=1)))
        # The second cell's output, not the third's, meets the last one here.
        fused = self.local_fuse[2](torch.cat((second, fourth), dim=1))
        return self.tail(fused + shallow).clamp(0, 1)
