"""A network as a graph of torch's operators: given by its worker, run by one that holds none of its code."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from eval.metrics.complexity import INPUT_SIDE, dispatched_flops
from eval.third_party.loading import Loaded


def graph_of(loaded: Loaded) -> memoryview:
    """Return the graph of a network for inputs of 256x256, weights included, in TorchScript's format.

    Raises:
        Exception: whatever its code raises, or the tracer.
    """
    generator = torch.Generator().manual_seed(0)
    x = loaded.data_range * torch.rand((1, 3, INPUT_SIDE, INPUT_SIDE), generator=generator)
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), patch.object(torch.autograd.Function, "apply", _forward_alone):
        # Of sizes that become constants, which they may, and of TorchScript's age.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(loaded.network, x.to(loaded.device), check_trace=False, strict=False), buffer)
    return buffer.getbuffer()


class _Context:
    """What the forward of an ``autograd.Function`` notes for its backward, which is never run."""

    needs_input_grad = ()

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: None


@classmethod
def _forward_alone(cls: type[torch.autograd.Function], *args: Any, **kwargs: Any) -> Any:
    """Call an ``autograd.Function`` as what it computes: a graph holds no function of Python's."""
    apart = cls.setup_context is not torch.autograd.Function.setup_context
    return cls.forward(*args, **kwargs) if apart else cls.forward(_Context(), *args, **kwargs)


def load_graph(path: Path, data_range: float, device: torch.device) -> Loaded:
    """Load a graph as a network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.jit.load(str(path), map_location=device).eval()
    return Loaded("graph", data_range, network, device, network)


def count_graph(network: nn.Module) -> tuple[int, int]:
    """Return parameters and FLOPs of a graph at 256x256, as each of its operators comes to the dispatcher."""
    parameters = list(network.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    with torch.no_grad():
        flops = dispatched_flops(network, torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE, device=device))
    return sum(parameter.numel() for parameter in parameters), flops
