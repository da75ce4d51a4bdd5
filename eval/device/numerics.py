"""How a GPU rounds: TF32 and cuDNN's choices, set for a block of code and restored."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TF32, _FULL = "tf32", "ieee"


def convolutions_take_tf32() -> bool:
    """Tell whether cuDNN's convolutions may round float32 to TF32, as torch ships it."""
    return torch.backends.cudnn.conv.fp32_precision == _TF32


def products_take_tf32() -> bool:
    """Tell whether matrix products may round float32 to TF32; torch ships it off."""
    return torch.backends.cuda.matmul.fp32_precision == _TF32


@contextmanager
def cudnn_switches(tf32: bool) -> Iterator[None]:
    """Let convolutions take TF32 or not, and cuDNN choose its algorithms without trials, as the template has it.

    Of torch's two ways to say TF32 this is the one by operator: the other one, ``allow_tf32``, cannot be read where a
    program has used this one for convolutions alone. So recurrent layers are set like them.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, cudnn.benchmark, cudnn.deterministic
    wanted = _TF32 if tf32 else _FULL
    cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = wanted, wanted
    cudnn.benchmark, cudnn.deterministic = False, False
    try:
        yield
    finally:
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, cudnn.benchmark, cudnn.deterministic = before
