"""RLFN: Kong et al., "Residual Local Feature Network for Efficient Super-Resolution", CVPRW 2022.

arXiv 2205.07514. Winner of the 2022 challenge's runtime track, baseline of the 2024 challenge.
"""

from torch import Tensor, nn

from models.layers import ESA, conv1x1, conv3x3, leaky_relu, upsampler


class RLFB(nn.Module):
    """Residual local feature block: three activated convolutions, a residual, then attention."""

    def __init__(self, channels: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.c1_r = conv3x3(channels, hidden, bias)
        self.c2_r = conv3x3(hidden, hidden, bias)
        self.c3_r = conv3x3(hidden, channels, bias)
        self.c5 = conv1x1(channels, channels, bias)
        self.esa = ESA(channels, hidden=16)

    def forward(self, x: Tensor) -> Tensor:
        out = leaky_relu(self.c1_r(x))
        out = leaky_relu(self.c2_r(out))
        out = leaky_relu(self.c3_r(out)) + x
        return self.esa(self.c5(out))


class RLFN(nn.Module):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 255]; h and w of at least 15."""

    def __init__(self, channels: int = 46, hidden: int = 48, bias: bool = True) -> None:
        super().__init__()
        self.conv_1 = conv3x3(3, channels, bias)
        self.block_1 = RLFB(channels, hidden, bias)
        self.block_2 = RLFB(channels, hidden, bias)
        self.block_3 = RLFB(channels, hidden, bias)
        self.block_4 = RLFB(channels, hidden, bias)
        self.conv_2 = conv3x3(channels, channels, bias)
        self.upsampler = upsampler(channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv_1(x)
        out = self.block_4(self.block_3(self.block_2(self.block_1(features))))
        return self.upsampler(self.conv_2(out) + features)
