"""The exponential average of weights in training, which is what is validated, handed on and exported."""

from collections.abc import Callable

from torch import Tensor
from torch.optim.swa_utils import PARAM_LIST, get_ema_multi_avg_fn


def moving_average(
    decay: float, updates_done: Callable[[], int]
) -> Callable[[PARAM_LIST, PARAM_LIST, Tensor | int], None]:
    """Return an update of exponentially averaged weights whose decay grows to ``decay``, so that it starts fast.

    How many updates are done is asked of the caller: torch's own count lies on the device, and to read it is to wait.
    """

    def update(averaged: PARAM_LIST, current: PARAM_LIST, count: Tensor | int) -> None:
        updates = updates_done()
        get_ema_multi_avg_fn(min(decay, (1 + updates) / (10 + updates)))(averaged, current, count)

    return update
