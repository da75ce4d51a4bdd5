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

    def forward(x: Tensor) -> Tensor:
        return copied(x.contiguous(memory_format=torch.channels_last))

    return forward
