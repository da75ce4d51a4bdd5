"""Tensors to a device and back; to and from a GPU through page-locked memory, which it reads and writes by itself."""

import torch
from torch import Tensor


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device; on a GPU the copy is queued, and what is started after it sees it."""
    if device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def to_host(x: Tensor) -> Tensor:
    """Return a tensor on the CPU, finished."""
    if x.device.type != "cuda":
        return x.cpu()
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    host.copy_(x, non_blocking=True)
    torch.cuda.current_stream(x.device).synchronize()
    return host
