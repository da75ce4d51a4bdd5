"""The optimizers that a step of the recipe may name: the loss is the recipe's, how it is made smaller may be ours."""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

if TYPE_CHECKING:
    from team_bsr.recipe import Step

# Of Newton and Schulz's iteration, as Jordan chose them: five times bring singular values from 0.01 on to 0.7 to 1.2.
_COEFFICIENTS, _TIMES = (3.4445, -4.7750, 2.0315), 5
_MOMENTUM = 0.95
# Of an update, in rates. Chosen by trying: a third of it learns less, three times as much ends in NaN.
_UPDATE_RMS = 2 / 3


def adamw(network: nn.Module, step: "Step") -> list[Optimizer]:
    """Return AdamW for all parameters (Loshchilov and Hutter, ICLR 2019)."""
    return [_adamw(network.parameters(), step)]


def muon(network: nn.Module, step: "Step") -> list[Optimizer]:
    """Return Muon for the convolutions from features to features, and AdamW for all other parameters."""
    matrices = _hidden(network)
    taken = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    return [Muon(matrices, step.rate, step.weight_decay), _adamw(others, step)]


OPTIMIZERS: dict[str, Callable[[nn.Module, "Step"], list[Optimizer]]] = {"adamw": adamw, "muon": muon}


def _adamw(parameters: Iterable[Tensor], step: "Step") -> AdamW:
    return AdamW(parameters, step.rate, betas=step.betas, weight_decay=step.weight_decay, fused=True)


def _hidden(network: nn.Module) -> list[Tensor]:
    """Return the weights of all convolutions but the first and the last: those have images at one end."""
    return [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)][1:-1]


class Muon(Optimizer):
    """Momentum whose matrices are made orthogonal: each update moves all directions alike (Jordan et al., Muon, 2024).

    The gradients of a matrix lie mostly in few directions, and AdamW learns these first. A kernel is a matrix with a
    row for each output channel. The RMS of an update is two thirds of the rate, near that of AdamW's, so that both go
    by one rate.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; the rate may be a number, or a tensor that a recorded step reads."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if (gradient := parameter.grad) is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(gradient)
                momentum = state["momentum"]
                momentum.lerp_(gradient, 1 - _MOMENTUM)
                # One step ahead, as Nesterov's.
                matrix = gradient.lerp(momentum, _MOMENTUM).flatten(1)
                update = orthogonal(matrix) * (_UPDATE_RMS * math.sqrt(max(matrix.shape)))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.view_as(parameter) * group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a ``(rows, columns)`` float matrix with its singular values brought near to 1, its directions kept.

    By Newton and Schulz's iteration, ``x = (a + b G + c G^2) x`` with ``G = x x^T``. All factors are polynomials of the
    first ``G``, so they are multiplied with each other, and only in the end with ``x``, which has many more columns.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = _COEFFICIENTS
    # By the norm, which is no less than the largest singular value; all zeros stay so.
    x = matrix / (matrix.norm() + 1e-20)
    gram = x @ x.T
    product = identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(_TIMES):
        factor = a * identity + b * gram + c * gram @ gram
        product, gram = factor @ product, factor @ gram @ factor
    return product @ x
