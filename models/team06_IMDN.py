"""IMDN: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019.

arXiv 1909.11856. The variant of the AIM 2019 challenge, eight blocks without channel attention: baseline of 2022.
"""

import torch
from torch import Tensor, nn

from models.layers import conv1x1, conv3x3


def activated_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return a 3x3 convolution followed by leaky ReLU 0.05."""
    return nn.Sequential(conv3x3(in_channels, out_channels), nn.LeakyReLU(0.05))


class IMDB(nn.Module):
    """Information multi-distillation block: after each convolution a quarter of the channels is set aside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        distilled = channels // 4
        self.split = (distilled, channels - distilled)
        self.conv1 = activated_conv(channels, channels)
        self.conv2 = activated_conv(channels - distilled, channels)
        self.conv3 = activated_conv(channels - distilled, channels)
        self.conv4 = conv3x3(channels - distilled, distilled)
        self.conv1x1 = conv1x1(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        kept, rest = [], x
        for conv in (self.conv1, self.conv2, self.conv3):
            distilled, rest = conv(rest).split(self.split, dim=1)
            kept.append(distilled)
        kept.append(self.conv4(rest))
        return self.conv1x1(torch.cat(kept, dim=1)) + x


class Residual(nn.Module):
    """Add the input to what ``sub`` makes of it."""

    def __init__(self, sub: nn.Module) -> None:
        super().__init__()
        self.sub = sub

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sub(x)


class IMDN(nn.Module):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 1]; any size."""

    def __init__(self, channels: int = 64, blocks: int = 8, scale: int = 4) -> None:
        super().__init__()
        body = [IMDB(channels) for _ in range(blocks)]
        self.model = nn.Sequential(
            conv3x3(3, channels),
            Residual(nn.Sequential(*body, conv3x3(channels, channels))),
            conv3x3(channels, 3 * scale**2),
            nn.PixelShuffle(scale),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
