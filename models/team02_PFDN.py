"""PFDN: Wang et al., "Partial Feature Distillation Network", team KaiBaiGroup, overall winner of the 2023 challenge."""

import torch
from torch import Tensor, nn

from models.layers import ESA, conv3x3, leaky_relu, upsampler


class FusedConv(nn.Module):
    """A re-parameterised convolution after fusing; the name of its one convolution is the checkpoint's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rep_conv = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.rep_conv(x))


class PFDB(nn.Module):
    """Partial feature distillation block: attention first; the middle convolution sees 32 of 48 channels.

    By the checkpoint's names the order is conv1, conv3 (partial), conv2. The residual is the attention's output.
    """

    def __init__(self, channels: int, distilled: int) -> None:
        super().__init__()
        self.attn = ESA(channels, hidden=16)
        self.conv1 = FusedConv(channels)
        self.conv2 = FusedConv(channels)
        self.conv3 = FusedConv(distilled)
        self.split = (distilled, channels - distilled)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.attn(x)
        worked, kept = self.conv1(residual).split(self.split, dim=1)
        return self.conv2(torch.cat((self.conv3(worked), kept), dim=1)) + residual


class PFDN(nn.Module):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 1]; h and w of at least 15."""

    def __init__(self, channels: int = 48, distilled: int = 32) -> None:
        super().__init__()
        self.conv_first = conv3x3(3, channels)
        self.block1 = PFDB(channels, distilled)
        self.block2 = PFDB(channels, distilled)
        self.block3 = PFDB(channels, distilled)
        self.block4 = PFDB(channels, distilled)
        self.conv_last = conv3x3(channels, channels)
        self.tail = upsampler(channels)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv_first(x)
        out = self.block4(self.block3(self.block2(self.block1(features))))
        return self.tail(self.conv_last(out) + features)
