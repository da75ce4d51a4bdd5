"""How far roundings may move a result, so that a test's tolerance holds on every processor."""

import math

import torch


def rounding(dtype: torch.dtype, additions: int, magnitude: float = 1.0) -> float:
    """Return how far two orders of the same sums may differ.

    Each addition rounds by at most half of ``eps`` times the value, up or down: a random walk. Its length after n steps
    is about sqrt(n), and two walks differ by no more than twice that.

    Args:
        dtype: in which the sums are taken.
        additions: on the way to one sample, all layers together.
        magnitude: of the largest values on that way.
    """
    return math.sqrt(additions) * torch.finfo(dtype).eps * magnitude
