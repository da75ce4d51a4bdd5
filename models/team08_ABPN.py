"""ABPN: Du et al., "Anchor-based Plain Net for Mobile Image Super-Resolution", CVPRW 2021 (Mobile AI).

arXiv 2105.09750. The paper's plan for x3, widened to x4: the source of PFDNLite's anchor and of its plain chain.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import conv3x3


class ABPN(nn.Module):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 1], the output clipped; any size.

    A chain of 3x3 convolutions with ReLU; the last one works in image space, and each colour, repeated ``scale**2``
    times, is added to it before PixelShuffle: what is learned is the difference to the nearest-neighbour enlargement.
    In training the output is not clipped, since no gradient passes where it would be, and it starts near the anchor.
    """

    def __init__(self, channels: int = 28, depth: int = 4, scale: int = 4) -> None:
        super().__init__()
        image_channels = 3 * scale**2
        widths = [3, *[channels] * (depth + 1), image_channels]
        self.body = nn.ModuleList(conv3x3(a, b) for a, b in pairwise(widths))
        self.tail = conv3x3(image_channels, image_channels)
        self.shuffle = nn.PixelShuffle(scale)
        self.repeats = scale**2
        for parameter in self.parameters():
            (nn.init.xavier_normal_ if parameter.ndim == 4 else nn.init.zeros_)(parameter)
        with torch.no_grad():
            self.tail.weight *= 0.1

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for conv in self.body:
            out = F.relu(conv(out))
        anchor = x.repeat_interleave(self.repeats, dim=1)
        sr = self.shuffle(self.tail(out) + anchor)
        return sr if self.training else sr.clamp(0, 1)
