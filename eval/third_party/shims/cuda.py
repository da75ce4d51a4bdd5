"""CUDA calls on a machine without CUDA: what asks for the GPU gets the CPU, and clocks of the GPU stand still."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eval.third_party.shims.elementwise import create_jit_fn

_NAME = 'device="cuda" on a CPU'


def install(notes: set[str]) -> None:
    """Redirect ``.cuda()``, ``.to("cuda")`` and the functions of ``torch.cuda``."""
    for kind in (Tensor, nn.Module):
        kind.cuda = _noted(lambda self, *_arguments, **_options: self, ".cuda() on a CPU", notes)
        kind.to = _redirected(kind.to, notes)
    for name, value in _stopped_clocks().items():
        setattr(torch.cuda, name, _noted(value, "torch.cuda calls on a CPU", notes))
    torch.cuda.jiterator._create_jit_fn = _noted(create_jit_fn, "torch.cuda.jiterator on a CPU", notes)


def wants_gpu(error: Exception) -> bool:
    """Tell whether an error says that there is no GPU, in the words of a torch for CPUs, for CUDA or for AMD's HIP."""
    return any(word in str(error) for word in ("CUDA", "NVIDIA driver", "HIP"))


class OnCpu(TorchFunctionMode):
    """While it is entered, every function of torch that is given a CUDA device takes the CPU.

    It costs time at every operator: networks are built under it, and run under it only if they need it.
    """

    def __init__(self, notes: set[str]) -> None:
        super().__init__()
        self._notes = notes

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _redirected(func, self._notes)(*args, **(kwargs or {}))


def _noted(function: Callable, name: str, notes: set[str]) -> Callable:
    def call(*arguments: Any, **options: Any) -> Any:
        notes.add(name)
        return function(*arguments, **options)

    return call


def _redirected(function: Callable, notes: set[str]) -> Callable:
    """Return a function that takes the CPU wherever it is given a CUDA device."""

    def call(*arguments: Any, **options: Any) -> Any:
        if any(map(_is_cuda, arguments)) or _is_cuda(options.get("device")):
            notes.add(_NAME)
            arguments = tuple("cpu" if _is_cuda(argument) else argument for argument in arguments)
            options |= {"device": "cpu"} if "device" in options else {}
        return function(*arguments, **options)

    return call


def _is_cuda(argument: object) -> bool:
    return isinstance(argument, str | torch.device) and str(argument).startswith("cuda")


def _stopped_clocks() -> dict[str, Callable]:
    """Return stand-ins for what harnesses and constructors ask of ``torch.cuda``."""
    event = SimpleNamespace(record=lambda *_: None, synchronize=lambda: None, elapsed_time=lambda _other: 0.0)
    return {
        "Event": lambda **_options: event,
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "current_device": lambda: 0,
        "max_memory_allocated": lambda *_: 0,
        "memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
    }
