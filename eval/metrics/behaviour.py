"""What a network does that its figures do not show: half precision inside, re-fusing, memory of former images."""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from eval.device.following import Call, Following
from eval.device.transfer import device_of
from eval.errors import one_reason
from eval.metrics.figures import Flag
from eval.metrics.operands import Operands

_SIDE = 64
_HALF = (torch.float16, torch.bfloat16)
_SAME_OUTPUT = 1e-4
# Each vector of 16 that holds one costs a hundred times its time: at this share all of them together do, too.
_SUBNORMAL_SHARE = 0.001


@torch.no_grad()
def inspect(network: nn.Module, data_range: float) -> list[Flag]:
    """Run a network in eval mode four times on two smooth images of 64x64, and flag what should not be there.

    No error of the network's own leaves this function: what could not be looked for is a flag.
    """
    flags = list(_subnormal_weights(network))
    try:
        return [*flags, *_observed(network, data_range)]
    except Exception as error:
        text = f"could not be inspected with images of {_SIDE}x{_SIDE} ({one_reason(error)})"
        return [*flags, Flag(code="uncounted", text=text)]


def _observed(network: nn.Module, data_range: float) -> list[Flag]:
    device = device_of(network)
    first, second = (image.to(device) * data_range for image in (_smooth_image(0.0), 0.6 * _smooth_image(1.7)))
    seen: set[torch.dtype] = set()
    shares: list[tuple[float, int, int, str]] = []
    types = Following(lambda call: seen.update(tensor.dtype for tensor in call.made))
    subnormal = Following(lambda call: shares.extend(_subnormal_shares(call)))
    operands = Operands(network, first)
    prints, outputs = [_fingerprints(network)], []
    for x, watched in ((first, (operands, subnormal)), (second, ()), (first, ()), (first, ())):
        with types, ExitStack() as stack:
            for mode in watched:
                stack.enter_context(mode)
            outputs.append(network(x).float())
        # After each pass: memory that one pass frees can be what the next one gets.
        prints.append(_fingerprints(network))
    found = [*operands.flags(), *_half_precision(seen), *_subnormal_values(shares), *_written(prints)]
    return [*found, *_remembering(outputs[2], outputs[3], data_range)]


def _written(prints: Iterable[dict[str, tuple]]) -> Iterator[Flag]:
    """Flag parameters and buffers that are not the same after each pass."""
    changed = sorted({name for old, new in pairwise(prints) for name in new if old.get(name) != new[name]})
    if changed:
        text = f"writes its own parameters or buffers while it runs: {len(changed)} of them (first: {changed[0]})"
        yield Flag(code="parameters", text=text)


def _remembering(after_another: Tensor, after_itself: Tensor, data_range: float) -> Iterator[Flag]:
    """Flag outputs for one image that depend on what was run before."""
    difference = (after_another - after_itself).abs().max().item() / data_range
    # Of NaN, too.
    if not difference <= _SAME_OUTPUT:
        text = f"the same image gives another output after a different one, by up to {difference:.1e} of the range"
        yield Flag(code="state", text=f"{text}: it keeps state, or draws at random")


def _smooth_image(phase: float) -> Tensor:
    """Return ``(1, 3, 64, 64)`` in [0, 1]: like a photograph, it overflows nothing."""
    position = torch.linspace(0, 6.28, _SIDE, dtype=torch.float32, device="cpu")
    waves = torch.sin(position + phase)[:, None] * torch.cos(2 * position - phase)[None, :]
    return torch.stack([0.5 + 0.4 * waves, 0.5 - 0.3 * waves, 0.4 + 0.2 * waves]).unsqueeze(0)


def _fingerprints(network: nn.Module) -> dict[str, tuple[int, int, str, int]]:
    """Return what changes when a parameter or buffer is written, replaced, or added."""
    tensors = chain(network.named_parameters(), network.named_buffers())
    # Tensors that were made under inference mode have no version; what is written through ``.data`` changes none.
    return {
        name: (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version, str(tensor.dtype), _checksum(tensor))
        for name, tensor in tensors
    }


def _checksum(tensor: Tensor) -> int:
    """Return a checksum of a tensor's bytes; 0 for kinds whose bytes cannot be had."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return 0
    return zlib.crc32(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)


def _subnormal_weights(network: nn.Module) -> Iterator[Flag]:
    """Flag weights that a CPU multiplies by in up to a hundred times the time; a GPU does not mind."""
    weights = [tensor for tensor in chain(network.parameters(), network.buffers()) if tensor.device.type == "cpu"]
    if count := sum(map(_subnormal, weights)):
        text = f"{count:,} of its weights are subnormal: slow on CPUs, see torch.set_flush_denormal"
        yield Flag(code="subnormal", text=text)


def _subnormal(tensor: Tensor) -> int:
    """Return how many values are so small that a CPU computes with them slowly; float16 is widened before it does."""
    if tensor.dtype not in (torch.float32, torch.float64, torch.bfloat16):
        return 0
    return int(((tensor != 0) & (tensor.abs() < torch.finfo(tensor.dtype).tiny)).sum())


def _half_precision(seen: Iterable[torch.dtype]) -> Iterator[Flag]:
    """Flag half precision among the types of what operators return; what the network is given is float32."""
    if half := sorted(str(dtype).removeprefix("torch.") for dtype in set(seen).intersection(_HALF)):
        yield Flag(code="precision", text=f"computes in {', '.join(half)} inside")


def _subnormal_shares(call: Call) -> Iterator[tuple[float, int, int, str]]:
    """Yield for each tensor that an operator returns the share of subnormal values, their count, of how many, by what.

    Only what a CPU computes counts: others lose no time by them.
    """
    for tensor in call.made:
        if tensor.device.type == "cpu" and tensor.numel():
            count, size = _subnormal(tensor), tensor.numel()
            yield count / size, count, size, call.operator._schema.name


def _subnormal_values(shares: Iterable[tuple[float, int, int, str]]) -> Iterator[Flag]:
    """Flag the operator of whose output the largest share slows a CPU down as subnormal weights do."""
    share, count, size, operator = max(shares, default=(0.0, 0, 0, ""))
    if share > _SUBNORMAL_SHARE:
        text = f"{count:,} of {size:,} values that {operator} returns are subnormal"
        yield Flag(code="subnormal", text=f"{text}: slow on CPUs, see torch.set_flush_denormal")
