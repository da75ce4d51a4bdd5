"""Counts by hand."""

import pytest
import torch
from torch import Tensor, nn

from eval.metrics.complexity import complexity_flags, measure_complexity
from eval.metrics.figures import Complexity


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


def test_what_counts_flops_brings_no_warning_of_its_own(program):
    """As at an import with a newer torch, on the terminal of every command."""
    assert program("-W", "error", "-c", "import eval.metrics.complexity").stderr == ""


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


class TwoPaths(nn.Module):
    """A convolution for all images, and one for those that are not flat; the range says how many of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.seldom = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.always(x)
        if x.std() > 0:
            y = self.seldom(y)
        return self.seldom(y) if x.max() > 200 else y


@pytest.mark.parametrize(("data_range", "calls"), [(1.0, 1), (255.0, 2)])
def test_flops_that_depend_on_the_input_are_said_for_both(data_range: float, calls: int):
    complexity = measure_complexity(TwoPaths(), input_side=16, data_range=data_range)
    pixels = 16 * 16
    assert (complexity.flops, complexity.flops_by_dispatcher) == (pixels * 12, pixels * 12)
    assert complexity.flops_on_noise == pixels * (12 + calls * 16)
    (flag,) = [flag for flag in complexity_flags(complexity) if flag.code == "input"]
    expected = f"FLOPs {pixels * 12:,} on zeros, by which FLOPs are published, {pixels * (12 + calls * 16):,} on noise"
    assert flag.text == f"what it computes depends on the input: {expected}"


class UnderInferenceMode(Small):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def test_a_forward_under_inference_mode_is_counted_alike():
    assert measure_complexity(UnderInferenceMode(), input_side=10) == measure_complexity(Small(), input_side=10)


class Compiled(Small):
    """Compiles a part of itself, which fvcore cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.part = torch.compile(self.second)

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.first(x))


def test_what_compiles_a_part_of_itself_loses_its_flops_alone():
    complexity = measure_complexity(Compiled(), input_side=10)
    assert complexity.num_params == (3 * 8 * 9 + 8) + 8 * 8 + 5
    assert (complexity.activations, complexity.num_conv) == (2 * 100 * 8, 2)
    assert (complexity.flops, complexity.flops_by_operator) == (None, {})
    assert complexity.flops_by_dispatcher == complexity.flops_on_noise == 100 * (3 * 8 * 9 + 8 * 8)
    (flag,) = complexity_flags(complexity)
    assert (flag.code, flag.text[:46]) == ("uncounted", "could not be counted: FLOPs (RuntimeError: Det")


class Scripted(nn.Module):
    """Holds its convolution where no hook reaches it: 0 activations would be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.part = torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)


def test_what_scripts_a_part_of_itself_loses_flops_alone():
    complexity = measure_complexity(Scripted(), input_side=10)
    assert complexity.num_params == 3 * 8 * 9 + 8
    assert (complexity.flops, complexity.activations, complexity.num_conv) == (None, 100 * 8, 1)
    assert complexity.flops_by_dispatcher == 100 * 3 * 8 * 9
    said = [flag.text.partition(" (")[0] for flag in complexity_flags(complexity) if flag.code == "uncounted"]
    assert said == ["could not be counted: FLOPs"]


class Picky(Small):
    """Refuses what is not noise, as a check of its own."""

    error: type[Exception] = ValueError

    def forward(self, x: Tensor) -> Tensor:
        if x.std() == 0:
            raise self.error("flat images have no edges\nand more")
        return super().forward(x)


@pytest.mark.parametrize(
    "error", [ValueError, IndexError, AssertionError, RuntimeError, MemoryError, ZeroDivisionError]
)
def test_an_error_of_the_networks_own_costs_what_it_could_not_count(error: type[Exception]):
    network = Picky()
    network.error = error
    complexity = measure_complexity(network, input_side=10)
    assert complexity.num_params == (3 * 8 * 9 + 8) + 8 * 8 + 5
    assert (complexity.flops, complexity.flops_by_dispatcher, complexity.activations) == (None, None, None)
    assert complexity.flops_on_noise == 100 * (3 * 8 * 9 + 2 * 8 * 8)
    (flag,) = complexity_flags(complexity)
    what = "activations and convolutions, FLOPs, FLOPs by torch's dispatcher"
    assert flag.text == f"could not be counted: {what} ({error.__name__}: flat images have no edges)"
    assert all(not module._forward_hooks for module in network.modules())


def counted(**changed) -> Complexity:
    """Return a count that nothing is wrong with."""
    figures = {"num_params": 1000, "flops": 10**8, "flops_by_dispatcher": 10**8, "flops_bound": 10**8}
    figures |= {"input_side": 256, "activations": 1, "num_conv": 1, "uncounted_ops": {}, "suspect_ops": ()}
    return Complexity(**figures | changed)


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        ({}, []),
        ({"flops": 101 * 10**6, "flops_by_dispatcher": 102 * 10**6}, []),
        ({"flops": 99 * 10**6}, []),
        ({"flops": 99 * 10**6 - 1}, ["counters"]),
        ({"flops": 80 * 10**6, "flops_by_dispatcher": 80 * 10**6}, []),
        ({"flops": 80 * 10**6 - 1, "flops_by_dispatcher": 80 * 10**6}, ["bound"]),
        ({"flops": 300 * 10**6, "flops_by_dispatcher": 300 * 10**6}, []),
        ({"flops": 300 * 10**6 + 1, "flops_by_dispatcher": 300 * 10**6}, ["bound"]),
        ({"flops": None, "flops_by_dispatcher": 301 * 10**6}, ["bound"]),
        ({"flops": None, "flops_by_dispatcher": None}, []),
        ({"flops_bound": 0}, ["bound"]),
        ({"flops": 0, "flops_by_dispatcher": 0, "flops_bound": 0}, []),
        ({"flops_on_noise": 10**8}, []),
        ({"flops_on_noise": 10**8 + 1}, ["input"]),
        ({"suspect_ops": ("aten::x",)}, ["operators"]),
    ],
)
def test_limits_of_the_flags(changed: dict, codes: list[str]):
    assert [flag.code for flag in complexity_flags(counted(**changed))] == codes
