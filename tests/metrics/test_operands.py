"""Numbers that do the work of weights are counted by hand; what only looks like them is not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.metrics.behaviour import inspect
from eval.metrics.operands import Operands
from eval.zoo.manifest import find_model


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.5


KERNEL = random(48, 3, 3, 3)


class Base(nn.Module):
    """A convolution to 8 channels, whose output ``middle`` treats, and one to 48: 224 + 432 + 552 parameters.

    What ``middle`` needs is held under its name: a tensor as a buffer, all else as it is.
    """

    def __init__(self, middle: Callable[[Any, Tensor], Tensor] = lambda _, y: y, **held: Any) -> None:
        super().__init__()
        self.head, self.tail, self.middle = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 48, 1), middle
        self.extra = nn.Parameter(torch.zeros(552))
        for name, value in held.items():
            self.register_buffer(name, value) if type(value) is Tensor else setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.tail(self.middle(self, self.head(x))), 4)


def used(network: nn.Module) -> dict[str, int]:
    """Return the numbers that are used as weights, by where they stand."""
    x = torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)
    with torch.no_grad(), Operands(network.eval(), x) as operands:
        network(x)
    found: dict[str, int] = {}
    for source in operands.used:
        found[source.place] = found.get(source.place, 0) + source.count
    return found


class UnderInferenceMode(Base):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def buffers(kind: type[Base] = Base) -> Base:
    """A kernel and its bias."""
    kernel, bias = random(8, 8, 3, 3), random(8)
    return kind(lambda its, y: F.conv2d(y, its.kernel, its.bias, padding=1), kernel=kernel, bias=bias)


def flat() -> Base:
    """All numbers in one buffer, of which views are used."""

    def middle(its: Any, y: Tensor) -> Tensor:
        first, second = its.flat.view(2, 8, 8, 1, 1)
        return F.conv2d(F.conv2d(y, first), second)

    return Base(middle, flat=random(2 * 8 * 8))


def by_hand(its: Any, y: Tensor) -> Tensor:
    """A convolution written as multiplications and sums."""
    rows = torch.stack([y.roll(shift, 2) for shift in (-1, 0, 1)], -1)
    return (rows[:, None] * its.kernel[None, :, :, None, None]).sum((2, 5))


def by_tokens(its: Any, y: Tensor) -> Tensor:
    return (y.flatten(2).transpose(1, 2) @ its.kernels[0])[..., :8].transpose(1, 2).reshape(y.shape)


def drawn(_: Any, y: Tensor) -> Tensor:
    torch.manual_seed(3)
    return F.conv2d(y, torch.randn(8, 8, 3, 3), padding=1)


def mixed(its: Any, y: Tensor) -> Tensor:
    """Experts in a buffer, mixed by the input."""
    return F.conv2d(y, (y.mean((2, 3))[0, :2, None, None] * its.experts).sum(0)[..., None, None])


# Kept small, widened and scaled by a parameter when it is used.
SCALED = {"kernel": (256 * random(8, 8, 3, 3)).to(torch.int8), "factor": nn.Parameter(torch.ones(8, 1, 1, 1))}
USED = {
    "buffers": (buffers(), {"buffers": 8 * 8 * 9 + 8}),
    "under inference mode": (buffers(UnderInferenceMode), {"buffers": 8 * 8 * 9 + 8}),
    "in bytes and scaled": (
        Base(lambda its, y: F.conv2d(y, its.kernel.float() * its.factor, padding=1), **SCALED),
        {"buffers": 8 * 8 * 9},
    ),
    "views of one": (flat(), {"buffers": 2 * 8 * 8}),
    "an attribute": (Base(by_tokens, kernels=[random(8, 12)]), {"attributes or constants": 8 * 12}),
    "a constant of the module": (
        Base(lambda _, y: torch.einsum("nchw,dc->ndhw", y, KERNEL.flatten()[:72].view(9, 8))[:, :8]),
        {"attributes or constants": 48 * 3 * 9},
    ),
    "drawn": (Base(drawn), {"random draws": 8 * 8 * 9}),
    "drawn in place": (
        Base(lambda _, y: F.conv2d(y, y.new_empty(8, 8, 3, 3).uniform_(), padding=1)),
        {"random draws": 8 * 8 * 9},
    ),
    "by hand": (Base(by_hand, kernel=random(8, 8, 3)), {"buffers": 8 * 8 * 3}),
    "mixed by the input": (Base(mixed, experts=random(2, 8, 8)), {"buffers": 2 * 8 * 8}),
    # The kernel enters as the image, the features as the kernel.
    "swapped": (
        Base(lambda its, y: y + F.conv2d(its.kernel, y[:, :, :3, :3]).sum(), kernel=random(1, 8, 5, 5)),
        {"buffers": 8 * 5 * 5},
    ),
}


@pytest.mark.parametrize("case", USED)
def test_what_is_used_as_weights_is_counted_by_hand(case: str):
    network, numbers = USED[case]
    assert used(network) == numbers


def normalised(kind: type[Base]) -> Base:
    """Running statistics of more channels than a table has values; under inference mode the operator comes whole."""
    wide, norm, narrow = nn.Conv2d(8, 96, 1), nn.BatchNorm2d(96), nn.Conv2d(96, 8, 1)
    norm.running_mean, norm.running_var = random(96), random(96) + 1
    return kind(lambda its, y: its.narrow(its.norm(its.wide(y))), wide=wide, norm=norm, narrow=narrow)


def filtered(its: Any, y: Tensor) -> Tensor:
    return F.conv2d(F.conv2d(y, its.blur, padding=3, groups=8), its.edge, padding=1, groups=8)


def attending(its: Any, y: Tensor) -> Tensor:
    """Attention in windows with a table of relative positions, an index into it, and a mask of -100."""
    tokens = y.flatten(2).transpose(1, 2)
    scores = tokens @ tokens.transpose(1, 2) + its.table[0][its.index % 961] + its.bias
    return (scores.softmax(-1) @ tokens).transpose(1, 2).view_as(y)


def fused(its: Any, y: Tensor) -> Tensor:
    """Fuses two parameters in the forward pass, and moves them to another type and back."""
    whole = (its.second.weight[:, :, 0, 0].double() @ its.first.weight[:, :, 0, 0].double()).float()
    return F.conv2d(y, whole[..., None, None].clone())


def computed(_: Any, y: Tensor) -> Tensor:
    """A window and coordinates, made of ranges in the forward pass."""
    ramp = torch.linspace(-1, 1, 16) ** 2 + torch.arange(16).float() + torch.ones_like(y)
    return y * ramp * torch.hann_window(256).view(16, 16)


def conv() -> nn.Conv2d:
    return nn.Conv2d(8, 8, 3, padding=1)


TAPS, PLACE = torch.exp(-((torch.arange(7) - 3.0) ** 2) / 4), torch.arange(256)[:, None] - torch.arange(256)[None, :]
SOBEL = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
QUIET = {
    "nothing": Base(),
    "statistics": normalised(Base),
    "statistics under inference mode": normalised(UnderInferenceMode),
    "masks over a kernel and over features": Base(
        lambda its, y: F.conv2d(y, its.conv.weight * its.keep, padding=1) * its.where,
        keep=(random(8, 8, 3, 3) > 0).float(),
        where=(random(1, 8, 16, 16) > 0).float(),
        conv=conv(),
    ),
    "filters": Base(filtered, blur=torch.outer(TAPS, TAPS).repeat(8, 1, 1, 1), edge=SOBEL.repeat(8, 1, 1, 1)),
    "attention": Base(
        attending,
        table=nn.Parameter(random(1, 961)),
        index=(PLACE // 16 + 15) * 31 + PLACE % 16,
        bias=random(256, 256),
    ),
    "ranges": Base(computed),
    "positions that are added": Base(
        lambda its, y: torch.cat((y, its.positions)).sum(0, keepdim=True) + its.positions,
        positions=random(1, 8, 16, 16),
    ),
    # Fused, they are no more than the parameters that they are mixed into.
    "as many as parameters": Base(
        lambda its, y: F.conv2d(y, its.base + its.change.weight, padding=1), base=random(8, 8, 3, 3), change=conv()
    ),
    "fused": Base(fused, first=nn.Conv2d(8, 16, 1), second=nn.Conv2d(16, 8, 1)),
    "a vector of a spectral norm": Base(
        lambda its, y: F.conv2d(y, its.conv.weight / (its.conv.weight.view(8, 72) @ its.u).norm(), padding=1),
        u=random(72),
        conv=conv(),
    ),
    # A code book: few parameters, and a buffer that says which of them stands where.
    "an index": Base(
        lambda its, y: F.conv2d(y, its.extra[its.which], padding=1),
        which=torch.randint(0, 552, (8, 8, 3, 3), generator=torch.Generator().manual_seed(0)),
    ),
}


@pytest.mark.parametrize("case", QUIET)
def test_what_only_looks_like_weights_stays_quiet(case: str):
    assert used(QUIET[case]) == {}


def test_the_flag_says_how_many_and_where():
    (flag,) = [flag for flag in inspect(buffers(), 1.0) if flag.code == "weights"]
    expected = "584 numbers in buffers are used as weights and are not in Params (largest: kernel, 576)"
    assert flag.text == expected


@pytest.mark.parametrize(("more", "codes"), [(0, ["weights"]), (20_000, [])])
def test_a_hundredth_of_the_parameters_is_no_news(more: int, codes: list[str]):
    network = flat()
    others = sum(parameter.numel() for parameter in network.parameters())
    # 128 numbers in the buffer: a hundredth of 12,800.
    network.extra = nn.Parameter(torch.zeros(12_799 - (others - 552) + more))
    assert [flag.code for flag in inspect(network, 1.0)] == codes


def test_a_network_of_the_zoo_without_parameters_is_seen_whole():
    network = find_model("PFDNLite").build()
    count = sum(parameter.numel() for parameter in network.parameters())
    for module in list(network.modules()):
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                del module._parameters[name]
                module.register_buffer(name, parameter.data)
    (flag,) = inspect(network, 1.0)
    assert flag.text.startswith(f"{count:,} numbers in buffers are used as weights")


@pytest.mark.parametrize(("levels", "numbers"), [(64, {}), (65, {"buffers": 8 * 8 * 9})])
def test_sixty_four_values_are_a_table(levels: int, numbers: dict[str, int]):
    network = buffers()
    network.kernel.copy_((torch.arange(8 * 8 * 9) % levels).view(8, 8, 3, 3) / levels)
    network.bias = None
    assert used(network) == numbers
