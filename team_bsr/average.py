"""The exponential average of weights in training, which is what is validated, handed on and exported."""

from collections.abc import Callable

import torch
from torch import Tensor


def moving_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """Return an update of exponentially averaged weights whose decay grows to ``decay``, so that it starts fast."""

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        updates = count.item()
        weight = 1 - min(decay, (1 + updates) / (10 + updates))
        with torch.no_grad():
            for old, new in zip(averaged, current, strict=True):
                old.lerp_(new, weight)

    return update
