"""The merged kernels against the branches, and the branches against arithmetic by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from team_bsr.blocks import Gate, RepChain, RepMBConv, compose
from tests.rounding import rounding


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomize(module: nn.Module) -> nn.Module:
    """Give every parameter, biases too, values that keep outputs near 1."""
    for parameter in module.parameters():
        fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
        nn.init.normal_(parameter, std=fan_in**-0.5)
    return module


def by_hand(layer: RepMBConv, x: torch.Tensor) -> torch.Tensor:
    """RepMBConv of a ``(C, h, w)`` tensor, output pixel by output pixel, as the figures and the text tell it."""
    channels, height, width = x.shape
    middle = layer.expand.out_channels
    gate = layer.gate()
    z = layer.expand.bias.view(-1, 1, 1).repeat(1, height + 2, width + 2)
    for row in range(height):
        for column in range(width):
            z[:, row + 1, column + 1] = (
                layer.expand.weight.view(middle, channels) @ x[:, row, column] + layer.expand.bias
            )
    out = torch.empty_like(x)
    for row in range(height):
        for column in range(width):
            window = z[:, row : row + 3, column : column + 3]
            mixed = (layer.mix.weight * window).sum((1, 2, 3)) + layer.mix.bias
            inner = gate * mixed + z[:, row + 1, column + 1]
            reduced = layer.reduce.weight.view(channels, middle) @ inner + layer.reduce.bias
            out[:, row, column] = reduced + x[:, row, column]
    return out


def test_branches_follow_the_definition_pixel_by_pixel():
    layer = randomize(RepMBConv(3)).double()
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(layer(x[None])[0], by_hand(layer, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(7, 7), (1, 1), (1, 9), (13, 8)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_merged_kernel_equals_the_branches_at_every_pixel(size, dtype):
    layer = randomize(RepMBConv(24)).to(dtype)
    x = torch.randn(2, 24, *size, dtype=dtype)
    with torch.no_grad():
        expected = layer(x)
        difference = (F.conv2d(x, *layer.kernel(), padding=1) - expected).abs()
    # expand, mix and reduce.
    assert difference.max() < rounding(dtype, 24 + 9 * 48 + 48, expected.abs().max().item())


@pytest.mark.parametrize("channels", [48, 96])
def test_the_gate_starts_where_it_can_learn(channels):
    gate = Gate(channels)
    weights = gate()
    assert (weights - 0.5).abs().max() < 0.25
    (weights * torch.randn(channels)).sum().backward()
    for parameter in gate.parameters():
        assert parameter.grad.abs().max() > 1e-3


def test_the_gate_by_hand():
    gate = Gate(4)
    gate.vector.data = torch.tensor([1.0, 2.0, 0.0, -1.0])
    gate.squeeze.weight.data = torch.tensor([[1.0, 0.5, 3.0, 1.0]])  # 1 + 1 + 0 - 1 = 1
    gate.excite.weight.data = torch.tensor([[0.0], [1.0], [-1.0], [2.0]])
    silu = 1 / (1 + torch.exp(torch.tensor(-1.0)))
    expected = 1 / (1 + torch.exp(-silu * torch.tensor([0.0, 1.0, -1.0, 2.0])))
    assert torch.allclose(gate(), expected)


def test_composing_two_kernels_by_hand():
    three = torch.arange(9.0).view(1, 1, 3, 3)
    after = compose(
        (three, torch.tensor([2.0])), (torch.tensor([3.0, -1.0]).view(2, 1, 1, 1), torch.tensor([1.0, 0.0]))
    )
    assert torch.equal(after[0], torch.stack((3 * three[0], -three[0])))
    assert torch.equal(after[1], torch.tensor([7.0, -2.0]))
    before = compose((torch.tensor([2.0]).view(1, 1, 1, 1), torch.zeros(1)), (three, torch.tensor([5.0])))
    assert torch.equal(before[0], 2 * three)
    assert torch.equal(before[1], torch.tensor([5.0]))


def test_merging_stays_in_full_precision_under_autocast():
    chain = randomize(RepChain(RepMBConv(24)))
    x = torch.randn(1, 24, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = chain(x)
    with torch.no_grad():
        expected = F.conv2d(x.bfloat16(), *(part.bfloat16() for part in chain.kernel()), padding=1)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected)
