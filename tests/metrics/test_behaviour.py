"""Planted faults are flagged, and each only by its own flag; the zoo's networks have none."""

from pathlib import Path

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
    """A convolution and a nearest-neighbour enlargement."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 48, 3, padding=1)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 4)


class Half(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x).float()


class Refusing(Plain):
    """Writes its weight on every call, as a re-parameterised network that fuses itself does."""

    def forward(self, x: Tensor) -> Tensor:
        self.conv.weight.data = self.conv.weight.data.clone()
        return super().forward(x)


class InPlace(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.conv.bias.add_(0)
        return super().forward(x)


class ThroughData(Plain):
    """Writes where autograd does not see it."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls.data.add_(1)
        return super().forward(x)


class Counting(Plain):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Remembering(Plain):
    """Adds a trace of the image before."""

    last = None

    def forward(self, x: Tensor) -> Tensor:
        trace = 0 if self.last is None else 0.1 * self.last.mean()
        self.last = x
        return super().forward(x) + trace


class Random(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.01 * torch.randn(())


class NotANumber(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.nan


@pytest.mark.parametrize(
    ("network", "code", "text"),
    [
        (Half, "precision", "computes in bfloat16 inside"),
        (Refusing, "parameters", "1 of them (first: conv.weight)"),
        (InPlace, "parameters", "1 of them (first: conv.bias)"),
        (Counting, "parameters", "1 of them (first: calls)"),
        (ThroughData, "parameters", "1 of them (first: calls)"),
        (Remembering, "state", "it keeps state, or draws at random"),
        (Random, "state", "it keeps state, or draws at random"),
        (NotANumber, "state", "by up to nan"),
    ],
)
def test_a_planted_fault_is_flagged_alone(network: type[nn.Module], code: str, text: str):
    flags = inspect(network().eval(), 1.0)
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
    assert complexity_flags(measure_complexity(network, data_range=spec.data_range)) == []


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


class Faint(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.002 * torch.rand(())


@pytest.mark.parametrize(("data_range", "codes"), [(1.0, ["state"]), (255.0, [])])
def test_what_counts_is_the_difference_in_parts_of_the_range(data_range: float, codes: list[str]):
    torch.manual_seed(0)
    assert [flag.code for flag in inspect(Faint().eval(), data_range)] == codes


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
