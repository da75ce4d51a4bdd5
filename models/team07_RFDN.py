"""RFDN: Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution", ECCVW 2020.

arXiv 2009.11551. Winner of the AIM 2020 challenge; the form that the 2022 and 2023 challenges compare with.
"""

import torch
from torch import Tensor, nn

from models.layers import ESA, conv1x1, conv3x3, leaky_relu, upsampler


class RFDB(nn.Module):
    """Residual feature distillation block: each step distils half of the channels and refines all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.c1_d = conv1x1(channels, half)
        self.c1_r = conv3x3(channels, channels)
        self.c2_d = conv1x1(channels, half)
        self.c2_r = conv3x3(channels, channels)
        self.c3_d = conv1x1(channels, half)
        self.c3_r = conv3x3(channels, channels)
        self.c4 = conv3x3(channels, half)
        self.c5 = conv1x1(4 * half, channels)
        self.esa = ESA(channels, hidden=channels // 4, deep=True)

    def forward(self, x: Tensor) -> Tensor:
        steps = ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r))
        distilled, refined = [], x
        for distil, refine in steps:
            distilled.append(leaky_relu(distil(refined)))
            refined = leaky_relu(refine(refined) + refined)
        distilled.append(leaky_relu(self.c4(refined)))
        return self.esa(self.c5(torch.cat(distilled, dim=1)))


class RFDN(nn.Module):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 255]; h and w of at least 15."""

    def __init__(self, channels: int = 50) -> None:
        super().__init__()
        self.fea_conv = conv3x3(3, channels)
        self.B1 = RFDB(channels)
        self.B2 = RFDB(channels)
        self.B3 = RFDB(channels)
        self.B4 = RFDB(channels)
        self.c = nn.Sequential(conv1x1(4 * channels, channels), nn.LeakyReLU(0.05))
        self.LR_conv = conv3x3(channels, channels)
        self.upsampler = upsampler(channels)

    def forward(self, x: Tensor) -> Tensor:
        features = self.fea_conv(x)
        outputs, out = [], features
        for block in (self.B1, self.B2, self.B3, self.B4):
            out = block(out)
            outputs.append(out)
        return self.upsampler(self.LR_conv(self.c(torch.cat(outputs, dim=1))) + features)
