"""Tensors to a device and back; to and from a GPU through page-locked memory, which it reads and writes by itself."""

from itertools import chain

import torch
from torch import Tensor, nn


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device; on a GPU the copy is queued, and what is started after it sees it."""
    if device.type == "cuda":
        return x.contiguous().pin_memory().to(device, non_blocking=True)
    return x.to(device)


def to_host(x: Tensor) -> Tensor:
    """Return a tensor on the CPU, finished."""
    if x.device.type != "cuda":
        return x.cpu()
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    host.copy_(x, non_blocking=True)
    torch.cuda.current_stream(x.device).synchronize()
    return host


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's parameters are, or its buffers; the CPU for one that has neither."""
    tensors = chain(network.parameters(), network.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
