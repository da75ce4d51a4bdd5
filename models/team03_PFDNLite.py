"""PFDNLite: Wang et al., "Lightening Partial Feature Distillation Network for Efficient Super-Resolution".

Team BSR of the NTIRE 2024 Efficient SR challenge (report: arXiv 2404.10343). This is the deploy form, into which
``team_bsr`` fuses the network that it trains.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import conv1x1, conv3x3
from models.window import resize_map


class LocalAttention(nn.Module):
    """Weigh ``(N, C, h, w)`` by a max-pooled importance map and by a local gate; h and w of at least 7.

    Unlike in ESA the sigmoid comes before the interpolation, at about a sixth of the resolution. The gate is the
    sigmoid of channel 0, broadcast over all channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 3
        self.body = nn.Sequential(
            conv1x1(channels, hidden),
            nn.MaxPool2d(kernel_size=7, stride=3),
            nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
            conv3x3(hidden, channels),
            nn.Sigmoid(),
        )

    @staticmethod
    def cells(length: int) -> int:
        """Return how many cells of the importance map a side of ``length`` pixels has: pooling, then stride 2."""
        return ((length - 7) // 3 + 2) // 2

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(x[:, :1])
        return resize_map(self.body(x), x, self.cells, step=6) * gate * x


class PFDBLite(nn.Module):
    """Partial feature distillation block, light: the middle convolution sees the first half of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.attn = LocalAttention(channels)
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(half, half)
        self.conv3 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.attn(x)
        worked, kept = F.silu(self.conv1(residual)).chunk(2, dim=1)
        out = torch.cat((F.silu(self.conv2(worked)), kept), dim=1)
        return F.silu(self.conv3(out)) + residual


class PrunedPFDBLite(nn.Module):
    """PFDBLite without its middle convolution; the other half is the attention's output, untouched."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.attn = LocalAttention(channels)
        self.conv1 = conv3x3(channels, half)
        self.conv3 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.attn(x)
        out = torch.cat((F.silu(self.conv1(residual)), residual.chunk(2, dim=1)[1]), dim=1)
        return F.silu(self.conv3(out)) + residual


class PFDNLite(nn.Module):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 1]; h and w of at least 7.

    ``pruned_blocks`` names the blocks, counted from 1, that are Pruned-PFDBLite: (2, 3) in the entry, none in the
    network of the first training stage. ABPN's anchor, each colour repeated ``scale**2`` times before PixelShuffle,
    adds the nearest-neighbour enlargement of the input to the output.
    """

    def __init__(self, channels: int = 48, pruned_blocks: Sequence[int] = (2, 3), scale: int = 4) -> None:
        super().__init__()
        self.head = conv3x3(3, channels)
        self.block1, self.block2, self.block3, self.block4 = (
            PrunedPFDBLite(channels) if number in pruned_blocks else PFDBLite(channels) for number in (1, 2, 3, 4)
        )
        self.tail = nn.Sequential(conv3x3(channels, 3 * scale**2))
        self.shuffle = nn.PixelShuffle(scale)
        self.repeats = scale**2

    def forward(self, x: Tensor) -> Tensor:
        out = self.block4(self.block3(self.block2(self.block1(self.head(x)))))
        anchor = x.repeat_interleave(self.repeats, dim=1)
        return self.shuffle(self.tail(out) + anchor)
