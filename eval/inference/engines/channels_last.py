"""Plain torch on channels-last tensors, which convolution kernels take without reordering them first."""

import copy

import torch
from torch import Tensor, nn

from eval.device.clock import Forward
from eval.inference.engines.precision import in_precision


def prepare(network: nn.Module, device: torch.device, precision: str) -> Forward:
    """Return a forward that hands channels-last inputs to a channels-last copy of the network."""
    copied = copy.deepcopy(in_precision(network, precision)).to(device)
    copied.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (torch's overloads leave it out)
    if device.type == "cpu" and precision == "fp32" and torch.backends.mkldnn.is_available():
        _convolve_by_onednn(copied)

    def forward(x: Tensor) -> Tensor:
        return copied(x.contiguous(memory_format=torch.channels_last))

    return forward


class _ByOneDnn(nn.Conv2d):
    """A convolution that oneDNN computes, as it does the large ones of several threads anyway.

    Torch leaves it out for 1x1 kernels on one thread, which each of several streams has, and for small inputs; its own
    way then takes two to five times as long, for the same values (64 channels to 64: 4.3 ms beside 1.5).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        plain = self.padding_mode == "zeros" and input.dtype == torch.float32 and input.ndim == 4 and input.numel()
        if not plain or isinstance(self.padding, str):
            return super().forward(input)
        how = self.padding, self.stride, self.dilation, self.groups
        return torch.mkldnn_convolution(input, self.weight, self.bias, *how)


def _convolve_by_onednn(network: nn.Module) -> None:
    for layer in network.modules():
        if type(layer) is nn.Conv2d:
            layer.__class__ = _ByOneDnn
