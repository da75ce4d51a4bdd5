"""A network as a graph of torch's operators: given by its worker, run by one that holds none of its code."""

import io
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from eval.metrics.complexity import INPUT_SIDE
from eval.records.record import State
from eval.third_party.faults import SubmissionError
from eval.third_party.loading import Loaded
from eval.third_party.wire import MAX_GRAPH_BYTES

_PRODUCTS = frozenset("mul mul_ div div_ addcmul addcmul_ addcdiv addcdiv_ pow pow_ exp exp_ prod cumprod".split())
_MULTIPLIES = frozenset(
    "mm bmm addmm addbmm baddbmm mv addmv matmul linear bilinear einsum attention rnn lstm gru dot vdot".split()
)
# What a graph may call: torch's own operators, and ours.
_KNOWN_SPACES = ("aten", "prim", "prims", "esr")
_CALLED = re.compile(rb"\bops\.(\w+)")
_MOST_CODE_BYTES = 2**26


def graph_of(loaded: Loaded) -> memoryview:
    """Return the graph of a network for inputs of 256x256, weights included, in TorchScript's format.

    Raises:
        SubmissionError: it is too large.
        Exception: whatever its code raises, or the tracer.
    """
    generator = torch.Generator().manual_seed(0)
    x = loaded.data_range * torch.rand((1, 3, INPUT_SIDE, INPUT_SIDE), generator=generator)
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), patch.object(torch.autograd.Function, "apply", _apply):
        # Of sizes that become constants, which they may, and of TorchScript's age.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(loaded.network, x.to(loaded.device), check_trace=False, strict=False), buffer)
    if buffer.tell() > MAX_GRAPH_BYTES:
        raise SubmissionError(State.FAILED_TO_RUN, f"its graph has {buffer.tell():,} bytes, more than can be checked")
    return buffer.getbuffer()


class _NoGradients:
    """Stands for which inputs need a gradient: none, however many there are."""

    def __getitem__(self, _index: int) -> bool:
        return False

    def __iter__(self) -> Any:
        return iter(())


class _Context:
    """What the forward of an ``autograd.Function`` notes for its backward, which is never run."""

    needs_input_grad = _NoGradients()

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: None


@classmethod
def _apply(cls: type[torch.autograd.Function], *args: Any, **kwargs: Any) -> Any:
    """Call an ``autograd.Function`` as what it computes: a graph holds no function of Python's."""
    apart = cls.setup_context is not torch.autograd.Function.setup_context
    return cls.forward(*args, **kwargs) if apart else cls.forward(_Context(), *args, **kwargs)


def load_graph(path: Path, data_range: float, device: torch.device) -> Loaded:
    """Load a graph as a network.

    Raises:
        SubmissionError: it would call more than torch's own operators.
    """
    with zipfile.ZipFile(path) as archive:
        code = [file for file in archive.infolist() if file.filename.endswith(".py")]
        if sum(file.file_size for file in code) > _MOST_CODE_BYTES:
            raise SubmissionError(State.FAILED_TO_LOAD, "its graph is too long to be read")
        texts = [archive.read(file) for file in code]
    spaces = {space.decode() for text in texts for space in _CALLED.findall(text)}
    others = sorted(spaces.difference(_KNOWN_SPACES))
    if others or any(b"__setstate__" in text for text in texts):
        raise SubmissionError(State.FAILED_TO_LOAD, f"its graph calls {', '.join(others) or '__setstate__'}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.jit.load(str(path), map_location=device).eval()
    return Loaded("graph", data_range, network, device, network)


class _Uncounted(TorchDispatchMode):
    """Notes what no counter counts: products of values one by one, and operators that multiply and have no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.products, self.unknown = 0, set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        if func._overloadpacket not in flop_registry:
            if func.namespace not in _KNOWN_SPACES or _multiplies(name):
                self.unknown.add(f"{func.namespace}::{name}")
            elif name in _PRODUCTS and isinstance(output, Tensor):
                self.products += output.numel()
        return output


def _multiplies(name: str) -> bool:
    """Tell by its name whether an operator multiplies by matrices or kernels."""
    return any(word in _MULTIPLIES or word.startswith("conv") for word in name.split("_"))


def counted_forward(network: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Return a graph's output for an image, and what was counted while it was computed."""
    uncounted, counter = _Uncounted(), FlopCounterMode(display=False)
    with torch.no_grad(), warnings.catch_warnings(), uncounted, counter:
        warnings.simplefilter("ignore")
        sr = network(x)
    num_params = sum(parameter.numel() for parameter in network.parameters())
    counts = {"num_params": num_params, "flops": counter.get_total_flops() // 2, "products": uncounted.products}
    return sr, counts | {"unknown": sorted(uncounted.unknown)}
