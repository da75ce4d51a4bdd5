"""What a network does that its figures do not show: half precision inside, re-fusing, memory of former images."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eval.record import Flag

_SIDE = 64
_HALF = (torch.float16, torch.bfloat16)
_SAME_OUTPUT = 1e-4


@torch.no_grad()
def inspect(network: nn.Module, data_range: float) -> list[Flag]:
    """Run a network four times on two smooth images of 64x64, and flag what should not be there.

    Args:
        network: in eval mode, on its device.
        data_range: of its input.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    first, second = (image.to(device) * data_range for image in (_smooth_image(0.0), 0.6 * _smooth_image(1.7)))
    prints, outputs, types = [_fingerprints(network)], [], _Types()
    for x in (first, second, first, first):
        with types:
            outputs.append(network(x).float())
        # After each pass: memory that one pass frees can be what the next one gets.
        prints.append(_fingerprints(network))
    flags = []
    half = types.seen.intersection(_HALF)
    if half and first.dtype not in half:
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in half))
        flags.append(Flag(code="precision", text=f"computes in {names} inside"))
    changed = sorted({name for old, new in pairwise(prints) for name in new if old.get(name) != new[name]})
    if changed:
        text = f"writes its own parameters or buffers while it runs: {len(changed)} of them (first: {changed[0]})"
        flags.append(Flag(code="parameters", text=text))
    difference = (outputs[2] - outputs[3]).abs().max().item() / data_range
    if not difference <= _SAME_OUTPUT:
        text = f"the same image gives another output after a different one, by up to {difference:.1e} of the range"
        flags.append(Flag(code="state", text=f"{text}: it keeps state, or draws at random"))
    return flags


def _smooth_image(phase: float) -> Tensor:
    """Return ``(1, 3, 64, 64)`` in [0, 1]: like a photograph, it overflows nothing."""
    position = torch.linspace(0, 6.28, _SIDE)
    waves = torch.sin(position + phase)[:, None] * torch.cos(2 * position - phase)[None, :]
    return torch.stack([0.5 + 0.4 * waves, 0.5 - 0.3 * waves, 0.4 + 0.2 * waves]).unsqueeze(0)


def _fingerprints(network: nn.Module) -> dict[str, tuple[int, int, str]]:
    """Return what changes when a parameter or buffer is written, replaced, or added."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {name: (tensor.data_ptr(), tensor._version, str(tensor.dtype)) for name, tensor in tensors}


class _Types(TorchDispatchMode):
    """Note the types of all tensors that operators return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.seen |= {leaf.dtype for leaf in tree_leaves(output) if isinstance(leaf, Tensor)}
        return output
