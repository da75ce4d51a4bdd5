"""Plain torch: operator by operator, channels first. What every other engine is compared with."""

import torch
from torch import nn

from eval.device.clock import Forward
from eval.inference.engines.precision import in_precision


def prepare(network: nn.Module, _device: torch.device, precision: str) -> Forward:
    """Return the network itself, or its copy in half precision."""
    return in_precision(network, precision)
