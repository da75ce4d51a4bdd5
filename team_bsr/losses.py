"""The recipe's three losses: mean over all samples of float tensors in [0, 1]."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def charbonnier(sr: Tensor, hr: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Return the mean of ``sqrt((sr - hr)**2 + epsilon**2)``, a smooth L1 (Charbonnier et al., ICIP 1994).

    The factsheet leaves epsilon open; 1e-3, a quarter of a grey level, is the usual choice of the field.
    """
    return torch.sqrt((sr - hr) ** 2 + epsilon**2).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "charbonnier": charbonnier, "mse": F.mse_loss}
