"""The exponential average of weights in training, which is what is validated, handed on and exported."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """Averaged weights of a network, as ``module``; the decay grows to ``decay``, so that the average starts fast.

    torch's own ``AveragedModel`` counts on the CPU and copies its count to the device at each update, which waits for
    all that a GPU has to do.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module, self._decay = deepcopy(network), decay
        self._averaged: list[Tensor] = [*self.module.parameters()]
        self._current: list[Tensor] = [*network.parameters()]
        self._buffers = [*zip(self.module.buffers(), network.buffers(), strict=True)]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Take the network's weights in; so many updates were done before, and the first one copies them."""
        decay = min(self._decay, (1 + updates) / (10 + updates)) if updates else 0.0
        get_ema_multi_avg_fn(decay)(self._averaged, self._current, updates)
        for averaged, now in self._buffers:
            averaged.copy_(now)
