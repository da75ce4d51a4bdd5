"""Re-parameterised convolutions of PFDNLite's training form: several linear layers that equal one 3x3 convolution.

A layer here gives its ``kernel()``, the ``(weight, bias)`` of the single convolution that it equals, in differentiable
operations. Training convolves with the merged kernel: the same function and the same gradients for a fraction of the
arithmetic, since merging costs a few million multiplications whatever the size of the batch. The branches, run one
after another as the figures draw them, stay as ``branches`` for reference.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = tuple[Tensor, Tensor]


class Gate(nn.Module):
    """Squeeze-and-excitation that reads a learned vector instead of the features: ``channels`` weights in (0, 1).

    The default initialisation of the two matrices puts the weights near 1/2, where the sigmoid has its steepest slope.
    (All ones, as in a related network's public code, put it at sigmoid(230) = 1, where every gradient is exactly 0.)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.ones(channels))
        self.squeeze = nn.Linear(channels, channels // 4, bias=False)
        self.excite = nn.Linear(channels // 4, channels, bias=False)

    def forward(self) -> Tensor:
        """Return the ``(channels,)`` weights."""
        return torch.sigmoid(self.excite(F.silu(self.squeeze(self.vector))))


class PointWise(nn.Conv2d):
    """1x1 convolution, ``(N, in_channels, h, w)`` to ``(N, out_channels, h, w)``."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def kernel(self) -> Kernel:
        """Return ``(out, in, 1, 1)`` weight and ``(out,)`` bias, zero where the layer has none."""
        return self.weight, self.weight.new_zeros(self.out_channels) if self.bias is None else self.bias


class ScaledConv(nn.Conv2d):
    """3x3 convolution of a kernel that is held divided by a constant, so that a rate fits it as it fits the others.

    An optimizer such as Adam moves each weight by about the rate, whatever the gradient; so weights that are to be
    many times larger, or smaller, than those of other layers are learnt in other units. ``scales`` holds the factors
    of weight and bias.
    """

    scales: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.register_buffer("scales", torch.ones(2))
        # Files of before there were scales hold the kernels themselves.
        self.register_load_state_dict_pre_hook(
            lambda _module, state, prefix, *_: state.setdefault(f"{prefix}scales", torch.ones(2))
        )

    def kernel(self) -> Kernel:
        """Return ``(out, in, 3, 3)`` weight and ``(out,)`` bias, scaled."""
        assert self.bias is not None
        weight_scale, bias_scale = self.scales
        return self.weight * weight_scale, self.bias * bias_scale

    def set_kernel(self, weight: Tensor, bias: Tensor) -> None:
        """Hold what ``kernel`` is to return."""
        weight_scale, bias_scale = self.scales
        self.load_state_dict({"weight": weight / weight_scale, "bias": bias / bias_scale, "scales": self.scales})

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.kernel()
        return F.conv2d(x, weight, bias, padding=1)


class RepMBConv(nn.Module):
    """MobileNetV3's block without what is not linear: ``(N, C, h, w)`` to the same shape.

    ``z = expand(x)``, ``s = gate * mix(z) + z``, ``reduce(s) + x``, with ``ratio * C`` channels inside. ``mix`` is a
    full 3x3 convolution; ``z`` is padded with the bias of ``expand``, its value where x is 0, so that the merged
    convolution with zero padding is equal at the border too. The identity past ``mix`` is not gated.
    """

    def __init__(self, channels: int, ratio: int = 2) -> None:
        super().__init__()
        middle = ratio * channels
        self.expand = PointWise(channels, middle, bias=True)
        self.mix = nn.Conv2d(middle, middle, 3)
        self.gate = Gate(middle)
        self.reduce = PointWise(middle, channels, bias=True)

    def kernel(self) -> Kernel:
        """Return the ``(C, C, 3, 3)`` weight and ``(C,)`` bias of the equal convolution with zero padding 1."""
        gate = self.gate()
        (expand, offset), reduce = self.expand.kernel(), self.reduce.weight.flatten(1)
        # The bias of expand rides along as one more input channel, which is 1 everywhere, the padding included.
        inputs = torch.cat((expand.flatten(1), offset[:, None]), dim=1)
        channels, middle = reduce.shape
        rows = ((reduce * gate) @ self.mix.weight.flatten(1)).view(channels, middle, 9)
        # One product of matrices: a batched one would sum the gradient of inputs over the batch.
        merged = (rows.transpose(1, 2).flatten(0, 1) @ inputs).view(channels, 9, -1)
        centre = reduce @ inputs
        identity = torch.eye(channels, dtype=centre.dtype, device=centre.device)
        weight = merged[..., :-1] + F.pad((centre[:, :-1] + identity)[:, None], (0, 0, 4, 4))
        bias = merged[..., -1].sum(1) + centre[:, -1] + reduce @ (gate * self.mix.bias) + self.reduce.bias
        return weight.transpose(1, 2).unflatten(2, (3, 3)), bias

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches one after another."""
        z, offset = self.expand(x), self.expand.kernel()[1][:, None, None]
        padded = offset + F.pad(z - offset, (1, 1, 1, 1))
        s = self.gate()[:, None, None] * self.mix(padded) + z
        return self.reduce(s) + x


class RepChain(nn.Sequential):
    """A RepMBConv, with a point-wise convolution before or after it, that equals one 3x3 convolution.

    A point-wise convolution before it must have no bias: the merged convolution pads with zeros, and a bias would
    make its padding something else. After it a bias does no harm.

    Args:
        layers: PointWise and RepMBConv, in order.
        multi_branch: run layer by layer, which is the reference; otherwise merge, then convolve once.
    """

    def __init__(self, *layers: PointWise | RepMBConv, multi_branch: bool = False) -> None:
        super().__init__(*layers)
        self.multi_branch = multi_branch

    def kernel(self) -> Kernel:
        """Return ``(out, in, 3, 3)`` weight and ``(out,)`` bias of the equal convolution with zero padding 1."""
        return functools.reduce(compose, (its.kernel() for its in self if isinstance(its, (PointWise, RepMBConv))))

    @torch.no_grad()
    def set_kernel(self, weight: Tensor, bias: Tensor) -> None:
        """Change the middle convolution as little as makes ``kernel`` return this, and the last bias.

        Matrices around it are made orthogonal first, so that no direction needs a large change.
        """
        block = next(layer for layer in self if isinstance(layer, RepMBConv))
        nn.init.orthogonal_(block.expand.weight)
        nn.init.orthogonal_(block.reduce.weight, gain=2)
        after, before = block.reduce.weight.flatten(1) * block.gate(), block.expand.weight.flatten(1)
        first, last = self[0], self[-1]
        if isinstance(last, PointWise):
            after = last.weight.flatten(1) @ after
        if isinstance(first, PointWise):
            before = before @ first.weight.flatten(1)
        missing, pinv = weight - self.kernel()[0], torch.linalg.pinv
        block.mix.weight += torch.einsum("mo,oiyx,in->mnyx", pinv(after), missing, pinv(before))
        (last if isinstance(last, PointWise) else block.reduce).kernel()[1].add_(bias - self.kernel()[1])

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        if self.multi_branch:
            return super().forward(x)
        # Merging is cheap: it stays in full precision, and only the convolution sees autocast's.
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.kernel()
        if x.is_contiguous(memory_format=torch.channels_last):
            weight = weight.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, bias, padding=1)


def compose(first: Kernel, second: Kernel) -> Kernel:
    """Return the kernel of ``second`` after ``first``, of which one at least is 1x1.

    Exact at borders if ``first`` is 3x3, or has no bias.
    """
    (w1, b1), (w2, b2) = first, second
    weight = torch.einsum("oayx,acvu->ocyvxu", w2, w1).flatten(4).flatten(2, 3)
    return weight, w2.sum((2, 3)) @ b1 + b2
