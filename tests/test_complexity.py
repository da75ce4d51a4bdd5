"""Counts by hand."""

import torch
from torch import Tensor, nn

from eval.complexity import measure_complexity


class Small(nn.Module):
    """Two convolutions, the second one called twice, and an operator that fvcore has no rule for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 1, stride=1, bias=False)
        self.frozen = nn.Parameter(torch.zeros(5), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(self.second(self.second(self.first(x))), dim=1)


def test_counts_by_hand():
    complexity = measure_complexity(Small(), input_side=10)
    pixels = 10 * 10
    assert complexity.num_params == (3 * 8 * 9 + 8) + 8 * 8 + 5
    assert complexity.flops == pixels * (3 * 8 * 9) + 2 * pixels * 8 * 8
    assert complexity.activations == 3 * pixels * 8
    assert complexity.num_conv == 3
    assert complexity.uncounted_ops == {"aten::cumsum": 1}
    assert complexity.flops_by_operator == {"conv": complexity.flops}


def test_leaves_no_hooks_and_no_gradients():
    network = Small()
    measure_complexity(network, input_side=10)
    assert all(not module._forward_hooks for module in network.modules())
    assert network.first.weight.grad is None


class Tokens(nn.Module):
    """A network of modules that the challenge's activation counter hooks, and of some that it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.line, self.linear = nn.Conv1d(5, 5, 1), nn.Linear(7, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(self.conv(x))
        self.line(x.flatten(2))
        self.linear(torch.ones(1, 7))
        return x


def test_activations_are_of_two_dimensional_convolutions_alone():
    complexity = measure_complexity(Tokens(), input_side=8)
    assert complexity.activations == 4 * 8 * 8 + 5 * 16 * 16
    assert complexity.num_conv == 2
