"""Complexity as the challenge counts it: parameters, FLOPs, activations and convolutions at a 256x256 input."""

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from eval.record import Complexity

INPUT_SIDE = 256
# The challenge's activation counter hooks these module types and no other.
_COUNTED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


@torch.no_grad()
def measure_complexity(network: nn.Module, input_side: int = INPUT_SIDE) -> Complexity:
    """Count a network on the device that it is on; two forward passes of ``(1, 3, input_side, input_side)``."""
    parameters = list(network.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    x = torch.zeros(1, 3, input_side, input_side, device=device)
    activations, num_conv = _count_activations(network, x)
    analysis = FlopCountAnalysis(network, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return Complexity(
        input_side=input_side,
        num_params=sum(parameter.numel() for parameter in parameters),
        flops=int(analysis.total()),
        activations=activations,
        num_conv=num_conv,
        uncounted_ops=dict(analysis.unsupported_ops()),
    )


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
