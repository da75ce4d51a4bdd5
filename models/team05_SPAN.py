"""SPAN: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPRW 2024.

arXiv 2311.12770. Winner of the 2024 challenge, baseline of the 2026 challenge: 28 channels, convolutions fused.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import conv1x1, conv3x3, upsampler

RGB_MEAN = (0.4488, 0.4371, 0.4040)


class FusedConv(nn.Module):
    """A 3x3 convolution under the name that the checkpoint gives the fused one."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.eval_conv = conv3x3(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.eval_conv(x)


class SPAB(nn.Module):
    """Swift parameter-free attention block: the features weigh themselves by an odd function of their own value.

    Returns the block's output and its first activation, which the network's last concatenation takes. (The paper's
    code names that tensor before the activation, but activates it in place: what arrives is the activated one.)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c1_r = FusedConv(channels, channels)
        self.c2_r = FusedConv(channels, channels)
        self.c3_r = FusedConv(channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = F.silu(self.c1_r(x))
        detail = self.c3_r(F.silu(self.c2_r(first)))
        return (detail + x) * (torch.sigmoid(detail) - 0.5), first


class SPAN(nn.Module):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 1]; any size."""

    def __init__(self, channels: int = 28) -> None:
        super().__init__()
        # Not folded into conv_1: that convolution pads the shifted image with zeros, so the border would change.
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv_1 = FusedConv(3, channels)
        self.block_1 = SPAB(channels)
        self.block_2 = SPAB(channels)
        self.block_3 = SPAB(channels)
        self.block_4 = SPAB(channels)
        self.block_5 = SPAB(channels)
        self.block_6 = SPAB(channels)
        self.conv_cat = conv1x1(4 * channels, channels)
        self.conv_2 = FusedConv(channels, channels)
        self.upsampler = upsampler(channels)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv_1((x - self.mean) * 255)
        first_block, _ = self.block_1(features)
        out = first_block
        for block in (self.block_2, self.block_3, self.block_4, self.block_5):
            out, _ = block(out)
        out, activation = self.block_6(out)
        joined = torch.cat((features, self.conv_2(out), first_block, activation), dim=1)
        return self.upsampler(self.conv_cat(joined))
