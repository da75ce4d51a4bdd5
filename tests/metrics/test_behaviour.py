"""Planted faults are flagged, and each only by its own flag; the zoo's networks have none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.metrics.behaviour import inspect
from eval.metrics.complexity import complexity_flags, measure_complexity
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.loading import load_network
from eval.zoo.manifest import ModelSpec, all_models


class Plain(nn.Module):
    """A convolution and a nearest-neighbour enlargement; what is planted, ``around`` does."""

    def __init__(self, around: Callable[[Any, Tensor], Tensor] = lambda its, x: its.enlarged(x)) -> None:
        super().__init__()
        self.conv, self.around, self.last = nn.Conv2d(3, 48, 3, padding=1), around, None
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def enlarged(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.around(self, x)


def in_half(its: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return its.enlarged(x).float()


def refusing(its: Any, x: Tensor) -> Tensor:
    """Writes its weight on every call, as a re-parameterised network that fuses itself does."""
    its.conv.weight.data = its.conv.weight.data.clone()
    return its.enlarged(x)


def remembering(its: Any, x: Tensor) -> Tensor:
    """Adds a trace of the image before."""
    trace = 0 if its.last is None else 0.1 * its.last.mean()
    its.last = x
    return its.enlarged(x) + trace


@pytest.mark.parametrize(
    ("around", "code", "text"),
    [
        (in_half, "precision", "computes in bfloat16 inside"),
        (refusing, "parameters", "1 of them (first: conv.weight)"),
        (lambda its, x: (its.conv.bias.add_(0), its.enlarged(x))[1], "parameters", "1 of them (first: conv.bias)"),
        (lambda its, x: (its.calls.add_(1), its.enlarged(x))[1], "parameters", "1 of them (first: calls)"),
        # Where autograd does not see it.
        (lambda its, x: (its.calls.data.add_(1), its.enlarged(x))[1], "parameters", "1 of them (first: calls)"),
        (remembering, "state", "it keeps state, or draws at random"),
        (lambda its, x: its.enlarged(x) + 0.01 * torch.randn(()), "state", "it keeps state, or draws at random"),
        (lambda its, x: its.enlarged(x) * torch.nan, "state", "by up to nan"),
    ],
)
def test_a_planted_fault_is_flagged_alone(around: Callable, code: str, text: str):
    flags = inspect(Plain(around).eval(), 1.0)
    assert [flag.code for flag in flags] == [code]
    assert text in flags[0].text


class SubnormalInside(Plain):
    """Weights of an ordinary size, and features of 1e-40."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1e-20))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x * self.gain * self.gain).clamp(max=0)


def test_values_that_slow_a_cpu_down_are_flagged_with_their_number():
    network = SubnormalInside().eval()
    # Of the operators only the product has outputs so small: those of the convolution lie at 1, whatever its weights.
    with torch.no_grad():
        network.conv.bias.fill_(1)
    (flag,) = inspect(network, 1.0)
    assert flag.code == "subnormal"
    assert flag.text.startswith("12,288 of 12,288 values that aten::mul returns are subnormal: slow on CPUs")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_subnormal_weights_are_counted(dtype: torch.dtype):
    tiny = torch.finfo(dtype).tiny
    network = Plain().eval().to(dtype)
    with torch.no_grad():
        network.conv.weight.view(-1)[:5] = torch.tensor([tiny / 2, -tiny / 4, tiny, 0, -tiny], dtype=dtype)
        network.calls.fill_(tiny / 8)
    network.forward = lambda x: x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    (flag,) = inspect(network, 1.0)
    assert flag.text == "3 of its weights are subnormal: slow on CPUs, see torch.set_flush_denormal"
    assert flag.code == "subnormal"


def test_small_numbers_of_float16_are_no_subnormal_ones_where_they_are_widened():
    network = Plain().eval().half()
    with torch.no_grad():
        network.conv.weight.fill_(1e-6)
    network.forward = lambda x: x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert inspect(network, 1.0) == []


class Refuses(Plain):
    """Takes no small image."""

    def forward(self, x: Tensor) -> Tensor:
        raise IndexError(f"{x.shape[-1]} pixels are too few")


def test_a_network_that_cannot_be_inspected_says_so_and_loses_no_other_flag():
    network = Refuses().eval()
    with torch.no_grad():
        network.conv.bias[7] = 1e-39
    subnormal, uncounted = inspect(network, 1.0)
    assert subnormal.text.startswith("1 of its weights are subnormal")
    assert uncounted.code == "uncounted"
    assert uncounted.text == "could not be inspected with images of 64x64 (IndexError: 64 pixels are too few)"


def test_tensors_of_inference_mode_have_no_version_and_are_inspected_all_the_same():
    with torch.inference_mode():
        network = Plain().eval()
    assert inspect(network, 1.0) == []


@pytest.mark.parametrize("spec", [spec for spec in all_models() if spec.checkpoints], ids=lambda spec: spec.name)
def test_the_zoo_is_free_of_flags(spec: ModelSpec):
    network = spec.build()
    assert inspect(network, spec.data_range) == []
    assert [*complexity_flags(measure_complexity(network, data_range=spec.data_range))] == []


@pytest.mark.parametrize("spec", [spec for spec in all_models() if spec.checkpoints], ids=lambda spec: spec.name)
def test_the_zoos_published_weights_are_free_of_flags(spec: ModelSpec, esr_weights: Path):
    assert inspect(load_network(spec, find_checkpoint(spec)), spec.data_range) == []


class SameConv(nn.Module):
    """fvcore skips a convolution with padding by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding="same")
        self.tail = nn.Conv2d(8, 48, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.tail(self.conv(x)), 4)


def test_a_convolution_that_fvcore_skips_shows_in_three_ways():
    complexity = measure_complexity(SameConv(), input_side=32)
    pixels = 32 * 32
    assert complexity.flops == pixels * 8 * 48
    assert complexity.flops_by_dispatcher == pixels * (3 * 8 * 9 + 8 * 48)
    assert complexity.flops_bound == pixels * (3 * 8 * 9 + 8 + 8 * 48 + 48)
    assert complexity.suspect_ops == ("aten::_convolution_mode",)
    assert [flag.code for flag in complexity_flags(complexity)] == ["counters", "bound", "operators"]


@pytest.mark.parametrize(("data_range", "codes"), [(1.0, ["state"]), (255.0, [])])
def test_what_counts_is_the_difference_in_parts_of_the_range(data_range: float, codes: list[str]):
    torch.manual_seed(0)
    network = Plain(lambda its, x: its.enlarged(x) + 0.002 * torch.rand(())).eval()
    assert [flag.code for flag in inspect(network, data_range)] == codes


class PartlySubnormal(nn.Module):
    """Makes as many features subnormal as it is told."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3 * 64 * 64))
        with torch.no_grad():
            self.gain[:count] = 1e-20

    def forward(self, x: Tensor) -> Tensor:
        gain = self.gain.view(1, 3, 64, 64)
        return x * gain * gain


@pytest.mark.parametrize(("count", "texts"), [(12, []), (13, ["13 of 12,288 values that aten::mul returns"])])
def test_a_thousandth_of_an_operators_values_may_be_subnormal(count: int, texts: list[str]):
    flags = inspect(PartlySubnormal(count), 1.0)
    assert [flag.text.partition(" are subnormal")[0] for flag in flags] == texts
