"""Half precision in a network's layers, with everything in image space kept in float32."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from eval.device.gain import HALF_TYPES
from eval.errors import RunError

_PROBE_SIDE = 24


def in_precision(network: nn.Module, precision: str, fused: bool = False) -> nn.Module:
    """Return a network for ``(N, 3, h, w)`` float32 whose layers compute in ``precision``; for fp32 it itself.

    Each layer that has weights holds them in half precision and rounds its input to it; sums and activations between
    such layers follow, or are taken in float32 by an engine that fuses them with a layer, where that costs nothing. The
    input itself stays float32, so a shortcut from it meets the tail's output in float32, and so does the clamp; so do
    parameters of the network itself, outside of all its layers. If
    nothing is added to the tail, its last convolution makes the pixels, and is computed in float32 as a whole: half
    precision there would round each pixel to 8 bits before it is rounded to a grey level.

    Raises:
        RunError: the network has no convolution.
    """
    if precision == "fp32":
        return network
    half, dtype = copy.deepcopy(network), HALF_TYPES[precision]
    tail = _last_convolution(half)
    makes_pixels = not _image_passes_by(half, tail)
    for layer in half.modules():
        # What the network itself is given is the image.
        if layer is half or next(layer.parameters(recurse=False), None) is None:
            continue
        layer_dtype = torch.float32 if layer is tail and makes_pixels else dtype
        for parameter in layer.parameters(recurse=False):
            parameter.data = rounded(parameter.data, layer_dtype)
        layer.register_forward_pre_hook(_rounding_to(layer_dtype))
        if fused:
            layer.register_forward_hook(_in_float32)
    return half


def rounded(weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Round weights to a dtype; kernels ``(out, in, kh, kw)`` so that each one's sum is kept.

    Each tap takes over the rounding error of those before it, as in error diffusion. Features change slowly over a
    kernel's reach, so errors of taps that cancel hardly show: PFDNLite's output is off by 0.21 instead of 0.36 grey
    levels (root mean square, bf16 weights alone).
    """
    if weights.ndim != 4:
        return weights.to(dtype)
    taps, carried = weights.flatten(2), torch.zeros(weights.shape[:2], device=weights.device)
    kept = torch.empty_like(taps, dtype=dtype)
    for tap in range(taps.shape[2]):
        wanted = taps[..., tap] + carried
        kept[..., tap] = wanted
        carried = wanted - kept[..., tap]
    return kept.view(weights.shape)


def _in_float32(_layer: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
    return output.float()


def _rounding_to(dtype: torch.dtype) -> Callable[[nn.Module, tuple], tuple]:
    def to_dtype(_layer: nn.Module, inputs: tuple) -> tuple:
        return (inputs[0].to(dtype), *inputs[1:])

    return to_dtype


def _last_convolution(network: nn.Module) -> nn.Module:
    ran: list[nn.Module] = []
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda layer, *_: ran.append(layer)) for layer in convolutions]
    _run_probe(network, hooks)
    if not ran:
        raise RunError(f"{type(network).__name__} has no convolution, so nothing that half precision would speed up")
    return ran[-1]


def _image_passes_by(network: nn.Module, tail: nn.Module) -> bool:
    """Tell whether the output depends on the input when the last convolution is silenced: by a shortcut."""
    silence = tail.register_forward_hook(lambda _layer, *rest: torch.zeros_like(rest[-1]))
    return bool(_run_probe(network, [silence]).count_nonzero())


def _run_probe(network: nn.Module, hooks: list[Any]) -> Tensor:
    try:
        with torch.no_grad():
            device, shape = next(network.parameters()).device, (1, 3, _PROBE_SIDE, _PROBE_SIDE)
            return network(torch.full(shape, 0.5, dtype=torch.float32, device=device))
    finally:
        for hook in hooks:
            hook.remove()
