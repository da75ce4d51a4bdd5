"""Complexity as the challenge counts it: parameters, FLOPs, activations and convolutions at a 256x256 input."""

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eval.record import Complexity, Flag

INPUT_SIDE = 256
BOUND_SHARE = 0.8
COUNTERS_AGREE = 0.01
# Element by element, pooling, moving: nothing here multiplies by a weight matrix or kernel.
_FREE_OPS = frozenset(
    f"aten::{name}"
    for name in (
        "add add_ sub sub_ mul mul_ div div_ rsub neg abs pow sqrt exp log clamp clamp_ clamp_min clamp_max relu relu_ "
        "leaky_relu leaky_relu_ prelu silu silu_ gelu hardtanh hardswish hardsigmoid sigmoid sigmoid_ tanh softmax "
        "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d mean sum amax max min pixel_shuffle "
        "pixel_unshuffle upsample_nearest2d repeat repeat_interleave pad reflection_pad2d constant_pad_nd index "
        "index_select copy_ expand_as cumsum clone var linalg_vector_norm embedding complex real imag "
        "meshgrid fill_ flip roll eq ne gt lt ge le where gather"
    ).split()
)
# The challenge's activation counter lists more module types, but hooks only these.
_COUNTED = (nn.Conv2d, nn.ConvTranspose2d)


@torch.no_grad()
def measure_complexity(network: nn.Module, input_side: int = INPUT_SIDE) -> Complexity:
    """Count a network on the device that it is on; three forward passes of ``(1, 3, input_side, input_side)``."""
    parameters = list(network.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    x = torch.zeros(1, 3, input_side, input_side, device=device)
    activations, num_conv = _count_activations(network, x)
    analysis = FlopCountAnalysis(network, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    num_params = sum(parameter.numel() for parameter in parameters)
    flops, uncounted = int(analysis.total()), dict(analysis.unsupported_ops())
    by_operator = {name: int(count) for name, count in analysis.by_operator().items() if count}
    with FlopCounterMode(display=False) as dispatcher:
        network(x)
    return Complexity(
        input_side=input_side,
        num_params=num_params,
        flops=flops,
        flops_by_dispatcher=dispatcher.get_total_flops() // 2,
        flops_bound=num_params * input_side**2,
        flops_by_operator=by_operator,
        activations=activations,
        num_conv=num_conv,
        uncounted_ops=uncounted,
        suspect_ops=tuple(sorted(uncounted.keys() - _FREE_OPS)),
    )


def complexity_flags(complexity: Complexity) -> list[Flag]:
    """Return what makes a count doubtful. Strided or pooled branches are rightly under the bound."""
    flags = []
    larger = max(complexity.flops, complexity.flops_by_dispatcher)
    if abs(complexity.flops - complexity.flops_by_dispatcher) > COUNTERS_AGREE * larger:
        counts = f"fvcore {complexity.flops:,}, torch's dispatcher {complexity.flops_by_dispatcher:,}"
        flags.append(Flag(code="counters", text=f"FLOP counters differ by more than 1%: {counts}"))
    if complexity.flops < BOUND_SHARE * complexity.flops_bound:
        text = f"FLOPs {complexity.flops:,} are under 0.8 of parameters times pixels, {complexity.flops_bound:,}"
        flags.append(Flag(code="bound", text=text))
    if complexity.suspect_ops:
        text = f"operators that are not counted and can hide multiplications: {', '.join(complexity.suspect_ops)}"
        flags.append(Flag(code="operators", text=text))
    return flags


def _count_activations(network: nn.Module, x: Tensor) -> tuple[int, int]:
    sizes: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.numel()))
        for module in network.modules()
        if isinstance(module, _COUNTED)
    ]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(sizes), len(sizes)
