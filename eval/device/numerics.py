"""How devices round: TF32, cuDNN's choices, what a program has set, for a block of code; float32 by oneDNN."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import overrides
from torch.nn.modules import module as hooks_of_all

_TF32, _FULL = "tf32", "ieee"
# Of matrix products, in torch's older words.
_LESS = ("high", "medium")
# torch makes the two while it is imported, where no reader of its types sees it.
_CONV, _RNN = (getattr(torch.backends.cudnn, name) for name in ("conv", "rnn"))
_ON_CPU = [getattr(torch.backends.mkldnn, name) for name in ("conv", "matmul", "rnn")]
_CASTING = ("cpu", "cuda", "mps")
_HOOKS = (hooks_of_all._global_forward_pre_hooks, hooks_of_all._global_forward_hooks)


def convolutions_take_tf32() -> bool:
    """Tell whether cuDNN's convolutions may round float32 to TF32, as torch ships it."""
    return _CONV.fp32_precision == _TF32


def has_tf32(device: torch.device) -> bool:
    """Tell whether a GPU computes in TF32 where it may: NVIDIA's do from Ampere on."""
    if device.type != "cuda" or torch.version.hip:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def products_take_tf32() -> bool:
    """Tell whether matrix products may round float32 to TF32; torch ships it off."""
    return torch.backends.cuda.matmul.fp32_precision == _TF32


def _said_of_products() -> str | None:
    """Return what torch's older way of saying it has for matrix products; None where a program has mixed the two."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def set_cudnn_switches(tf32: bool) -> None:
    """Set what ``cudnn_switches`` sets, for good: where whatever runs next may have set it otherwise."""
    cudnn = torch.backends.cudnn
    cudnn.allow_tf32 = tf32
    if not tf32:
        if _said_of_products() in _LESS:
            # Else the two ways differ, and whoever reads the older one, as torch's compiler does, gets an error.
            torch.set_float32_matmul_precision("highest")
        _CONV.fp32_precision = _RNN.fp32_precision = torch.backends.cuda.matmul.fp32_precision = _FULL
    cudnn.benchmark, cudnn.deterministic = False, False


def set_full_precision_on_cpu() -> None:
    """Let oneDNN compute float32 as such, for good: a program can have it round to bfloat16, and no tensor shows it."""
    for operator in _ON_CPU:
        operator.fp32_precision = _FULL


@contextmanager
def as_torch_ships() -> Iterator[None]:
    """Set aside, for a block of code or a function, what a program has set for all networks: figures do not show it.

    That is autocast, the default type and device, modes of torch's functions, hooks on all modules, and less than
    float32 in products or on the CPU. Modes are taken away and not covered by others: one more costs time at each call.
    """
    dtype, said = torch.get_default_dtype(), _said_of_products()
    casting = [kind for kind in _CASTING if torch.is_autocast_enabled(kind)]
    hooks = [dict(its) for its in _HOOKS]
    with ExitStack() as stack:
        for _ in overrides._get_current_function_mode_stack():
            stack.enter_context(overrides._pop_mode_temporarily())
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        for kind in casting:
            stack.callback(torch.set_autocast_enabled, kind, True)
            torch.set_autocast_enabled(kind, False)
        for its, before in zip(_HOOKS, hooks, strict=True):
            stack.callback(its.update, before)
            its.clear()
        for operator in _ON_CPU:
            if operator.fp32_precision not in ("none", _FULL):
                stack.enter_context(_switched(operator, "fp32_precision", _FULL))
        if said in _LESS:
            stack.callback(torch.set_float32_matmul_precision, said)
            torch.set_float32_matmul_precision("highest")
        elif products_take_tf32():
            stack.enter_context(_switched(torch.backends.cuda.matmul, "fp32_precision", _FULL))
        yield


@contextmanager
def cudnn_switches(tf32: bool) -> Iterator[None]:
    """Let convolutions take TF32 or not, and cuDNN choose its algorithms without trials, as the template has it.

    torch has two ways to say TF32, ``allow_tf32`` and one precision an operator. The first sets both; to read it raises
    where a program has used the second one, so what was before is kept, and restored, by operator. Without TF32 each
    operator is told so itself, matrix products too: else it follows what a program has said for all.
    """
    cudnn = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    before, trials = (_CONV.fp32_precision, _RNN.fp32_precision), (cudnn.benchmark, cudnn.deterministic)
    products_before, said_before = products.fp32_precision, _said_of_products()
    set_cudnn_switches(tf32)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = trials
        cudnn.allow_tf32 = _TF32 in before
        if before != (_CONV.fp32_precision, _RNN.fp32_precision):
            _CONV.fp32_precision, _RNN.fp32_precision = before
        if said_before in _LESS:
            torch.set_float32_matmul_precision(said_before)
        if products_before != products.fp32_precision:
            products.fp32_precision = products_before


def products_in_tf32() -> AbstractContextManager[None]:
    """Let matrix products round float32 to TF32 for a block of code."""
    return _switched(torch.backends.cuda.matmul, "fp32_precision", _TF32)


def cudnn_trials() -> AbstractContextManager[None]:
    """Let cuDNN try its algorithms on each new shape and keep the fastest: for work whose shapes stay the same."""
    return _switched(torch.backends.cudnn, "benchmark", True)


@contextmanager
def _switched(switches: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(switches, name)
    setattr(switches, name, value)
    try:
        yield
    finally:
        setattr(switches, name, before)
