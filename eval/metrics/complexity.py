"""Complexity as the challenge counts it: parameters, FLOPs, activations and convolutions at a 256x256 input."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eval.device.following import Following
from eval.device.transfer import device_of
from eval.errors import one_reason
from eval.metrics.figures import Complexity, Flag

with warnings.catch_warnings(action="ignore"):
    # It scripts a function of its own, of which torch 2.14 says on every command's terminal that this is deprecated.
    from fvcore.nn import FlopCountAnalysis

INPUT_SIDE = 256
BOUND_SHARE = 0.8
# Of the 125 submissions that ran, one lies above: NLFFC of 2022 (15), which multiplies features by features.
MOST_OF_BOUND = 3
COUNTERS_AGREE = 0.01
# Element by element, pooling, moving: nothing here multiplies by a weight matrix or kernel.
_FREE_OPS = frozenset(
    f"aten::{name}"
    for name in (
        "add add_ sub sub_ mul mul_ div div_ rsub neg abs pow sqrt exp log clamp clamp_ clamp_min clamp_max relu relu_ "
        "leaky_relu leaky_relu_ prelu silu silu_ gelu hardtanh hardswish hardsigmoid sigmoid sigmoid_ tanh softmax "
        "softplus max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d mean sum amax max min pixel_shuffle "
        "pixel_unshuffle upsample_nearest2d repeat repeat_interleave pad reflection_pad2d constant_pad_nd index "
        "index_select copy_ expand_as cumsum clone var linalg_vector_norm embedding complex real imag "
        "meshgrid fill_ flip roll eq ne gt lt ge le where gather"
    ).split()
)
# The challenge's activation counter lists more module types, but hooks only these.
_COUNTED = (nn.Conv2d, nn.ConvTranspose2d)
_CONVOLUTION = torch.ops.aten.convolution.default
Count = TypeVar("Count")


@torch.no_grad()
def measure_complexity(network: nn.Module, input_side: int = INPUT_SIDE, data_range: float = 1.0) -> Complexity:
    """Count a network on the device that it is on; four forward passes of ``(1, 3, input_side, input_side)``.

    The published figures are those of zeros; noise in [0, data_range] shows what runs on other inputs only. What
    cannot be counted is None, and ``faults`` says why; no error of the network's own leaves this function.
    """
    # Not as a user's defaults of torch have it.
    plain: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    zeros = torch.zeros(1, 3, input_side, input_side, **plain)
    noise = data_range * torch.rand(zeros.shape, generator=torch.Generator().manual_seed(0), **plain)
    zeros, noise = (image.to(device_of(network)) for image in (zeros, noise))
    faults: dict[str, str] = {}
    counted = attempt(faults, "activations and convolutions", partial(_count_activations, network, zeros))
    traced = attempt(faults, "FLOPs", partial(_trace, network, zeros))
    by_dispatcher = attempt(faults, "FLOPs by torch's dispatcher", partial(_dispatched, network, zeros))
    on_noise = attempt(faults, "FLOPs on noise", partial(_dispatched, network, noise))
    flops, by_operator, uncounted = traced or (None, {}, {})
    activations, num_conv = counted or (None, None)
    num_params = sum(parameter.numel() for parameter in network.parameters())
    return Complexity(
        input_side=input_side,
        num_params=num_params,
        flops=flops,
        flops_by_dispatcher=by_dispatcher,
        flops_bound=num_params * input_side**2,
        flops_by_operator=by_operator,
        flops_on_noise=on_noise,
        activations=activations,
        num_conv=num_conv,
        uncounted_ops=uncounted,
        suspect_ops=tuple(sorted(uncounted.keys() - _FREE_OPS)),
        faults=faults,
    )


def attempt(faults: dict[str, str], what: str, count: Callable[[], Count]) -> Count | None:
    """Return ``count()``; None if it raises, with the reason under ``what`` in ``faults``."""
    try:
        return count()
    except Exception as error:
        faults[what] = one_reason(error)
        return None


def complexity_flags(complexity: Complexity) -> Iterator[Flag]:
    """Yield what makes a count doubtful. Strided or pooled branches are rightly under the bound."""
    for reason in dict.fromkeys(complexity.faults.values()):
        what = [name for name, its in complexity.faults.items() if its == reason]
        yield Flag(code="uncounted", text=f"could not be counted: {', '.join(what)} ({reason})")
    flops, by_dispatcher, on_noise = complexity.flops, complexity.flops_by_dispatcher, complexity.flops_on_noise
    counted = [count for count in (flops, by_dispatcher) if count is not None]
    if counted and max(counted) - min(counted) > COUNTERS_AGREE * max(counted):
        counts = f"fvcore {flops:,}, torch's dispatcher {by_dispatcher:,}"
        yield Flag(code="counters", text=f"FLOP counters differ by more than 1%: {counts}")
    yield from _bound_flags(complexity)
    if None not in (by_dispatcher, on_noise) and by_dispatcher != on_noise:
        counts = f"{by_dispatcher:,} on zeros, by which FLOPs are published, {on_noise:,} on noise"
        yield Flag(code="input", text=f"what it computes depends on the input: FLOPs {counts}")
    if complexity.suspect_ops:
        text = f"operators that are not counted and can hide multiplications: {', '.join(complexity.suspect_ops)}"
        yield Flag(code="operators", text=text)


def _bound_flags(complexity: Complexity) -> Iterator[Flag]:
    flops = complexity.flops_by_dispatcher if complexity.flops is None else complexity.flops
    bound = complexity.flops_bound
    if flops is not None and flops < BOUND_SHARE * bound:
        yield Flag(code="bound", text=f"FLOPs {flops:,} are under {BOUND_SHARE} of parameters times pixels, {bound:,}")
    if flops is not None and flops > MOST_OF_BOUND * bound:
        why = "weights that are no parameters, weights used again, or products of features"
        text = f"FLOPs {flops:,} are over {MOST_OF_BOUND} times parameters times pixels, {bound:,}: {why}"
        yield Flag(code="bound", text=text)


def _trace(network: nn.Module, x: Tensor) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return what fvcore counts: multiply-adds in all and by operator, and the operators without a rule."""
    # Where tracing fails, fvcore leaves its hooks.
    with _hooks_restored(network):
        analysis = FlopCountAnalysis(network, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        flops, uncounted = int(analysis.total()), dict(analysis.unsupported_ops())
    return flops, {name: int(count) for name, count in analysis.by_operator().items() if count}, uncounted


def _dispatched(network: nn.Module, x: Tensor) -> int:
    with warnings.catch_warnings(action="ignore", category=UserWarning), FlopCounterMode(display=False) as dispatcher:
        # It hooks all modules, of which torch.compile warns; its sums do not come from hooks.
        network(x)
    return dispatcher.get_total_flops() // 2


def _count_activations(network: nn.Module, x: Tensor) -> tuple[int, int]:
    sizes: list[int] = []
    names = {counted.__name__ for counted in _COUNTED}
    if any(getattr(module, "original_name", None) in names for module in network.modules()):
        # No hook reaches inside torch.jit.script; what it calls of torch is seen.
        with Following(lambda call: sizes.extend(its.numel() for its in call.made if call.operator is _CONVOLUTION)):
            network(x)
        return sum(sizes), len(sizes)
    # Following nothing makes parts that torch.compile has compiled run as they are written, so that hooks see them.
    with _hooks_restored(network), Following(lambda _call: None):
        for module in network.modules():
            if isinstance(module, _COUNTED):
                module.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.numel()))
        network(x)
    return sum(sizes), len(sizes)


@contextmanager
def _hooks_restored(network: nn.Module) -> Iterator[None]:
    """Leave the hooks of all modules as they were before the block."""
    modules = list(network.modules())
    kept = [(hooks, dict(hooks)) for its in modules for hooks in (its._forward_hooks, its._forward_pre_hooks)]
    try:
        yield
    finally:
        for hooks, before in kept:
            hooks.clear()
            hooks.update(before)
