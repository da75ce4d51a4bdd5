"""Numbers that do the work of weights are counted by hand; what only looks like them is not."""

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
    """A convolution to 8 channels, whose output a subclass treats, and one to 48: 224 + 432 + 552 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 48, 1)
        self.extra = nn.Parameter(torch.zeros(552))
        self.prepare()

    def prepare(self) -> None:
        """Hold what the subclass needs."""

    def middle(self, y: Tensor) -> Tensor:
        return y

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.tail(self.middle(self.head(x))), 4)


def used(network: nn.Module) -> dict[str, int]:
    """Return the numbers that are used as weights, by where they stand."""
    x = torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)
    with torch.no_grad(), Operands(network.eval(), x) as operands:
        network(x)
    found: dict[str, int] = {}
    for source in operands.used:
        found[source.place] = found.get(source.place, 0) + source.count
    return found


class Buffers(Base):
    """A kernel and its bias."""

    def prepare(self) -> None:
        self.register_buffer("kernel", random(8, 8, 3, 3))
        self.register_buffer("bias", random(8))

    def middle(self, y: Tensor) -> Tensor:
        return F.conv2d(y, self.kernel, self.bias, padding=1)


class UnderInferenceMode(Buffers):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class InBytesAndScaled(Buffers):
    """Kept small, widened and scaled by a parameter when it is used."""

    def prepare(self) -> None:
        super().prepare()
        self.kernel = (256 * self.kernel).to(torch.int8)
        self.factor = nn.Parameter(torch.ones(8, 1, 1, 1))

    def middle(self, y: Tensor) -> Tensor:
        return F.conv2d(y, self.kernel.float() * self.factor, padding=1)


class Flat(Base):
    """All numbers in one buffer, of which views are used."""

    def prepare(self) -> None:
        self.register_buffer("flat", random(2 * 8 * 8))

    def middle(self, y: Tensor) -> Tensor:
        first, second = self.flat.view(2, 8, 8, 1, 1)
        return F.conv2d(F.conv2d(y, first), second)


class Attribute(Base):
    def prepare(self) -> None:
        self.kernels = [random(8, 12)]

    def middle(self, y: Tensor) -> Tensor:
        return (y.flatten(2).transpose(1, 2) @ self.kernels[0])[..., :8].transpose(1, 2).reshape(y.shape)


class Constant(Base):
    """A constant of the module; einsum."""

    def middle(self, y: Tensor) -> Tensor:
        return torch.einsum("nchw,dc->ndhw", y, KERNEL.flatten()[:72].view(9, 8))[:, :8]


class Drawn(Base):
    def middle(self, y: Tensor) -> Tensor:
        torch.manual_seed(3)
        return F.conv2d(y, torch.randn(8, 8, 3, 3), padding=1)


class DrawnInPlace(Base):
    def middle(self, y: Tensor) -> Tensor:
        return F.conv2d(y, y.new_empty(8, 8, 3, 3).uniform_(), padding=1)


class ByHand(Base):
    """A convolution written as multiplications and sums."""

    def prepare(self) -> None:
        self.register_buffer("kernel", random(8, 8, 3))

    def middle(self, y: Tensor) -> Tensor:
        rows = torch.stack([y.roll(shift, 2) for shift in (-1, 0, 1)], -1)
        return (rows[:, None] * self.kernel[None, :, :, None, None]).sum((2, 5))


class Mixed(Base):
    """Experts in a buffer, mixed by the input."""

    def prepare(self) -> None:
        self.register_buffer("experts", random(2, 8, 8))

    def middle(self, y: Tensor) -> Tensor:
        weight = (y.mean((2, 3))[0, :2, None, None] * self.experts).sum(0)
        return F.conv2d(y, weight[..., None, None])


class Swapped(Base):
    """The kernel enters as the image, the features as the kernel."""

    def prepare(self) -> None:
        self.register_buffer("kernel", random(1, 8, 5, 5))

    def middle(self, y: Tensor) -> Tensor:
        return y + F.conv2d(self.kernel, y[:, :, :3, :3]).sum()


class ByIndex(Base):
    """A code book: few parameters, and a buffer that says which of them stands where."""

    def prepare(self) -> None:
        self.register_buffer("which", torch.randint(0, 552, (8, 8, 3, 3), generator=torch.Generator().manual_seed(0)))

    def middle(self, y: Tensor) -> Tensor:
        return F.conv2d(y, self.extra[self.which], padding=1)


@pytest.mark.parametrize(
    ("network", "numbers"),
    [
        (Buffers, {"buffers": 8 * 8 * 9 + 8}),
        (UnderInferenceMode, {"buffers": 8 * 8 * 9 + 8}),
        (InBytesAndScaled, {"buffers": 8 * 8 * 9}),
        (Flat, {"buffers": 2 * 8 * 8}),
        (Attribute, {"attributes or constants": 8 * 12}),
        (Constant, {"attributes or constants": 48 * 3 * 9}),
        (Drawn, {"random draws": 8 * 8 * 9}),
        (DrawnInPlace, {"random draws": 8 * 8 * 9}),
        (ByHand, {"buffers": 8 * 8 * 3}),
        (Mixed, {"buffers": 2 * 8 * 8}),
        (Swapped, {"buffers": 8 * 5 * 5}),
    ],
)
def test_what_is_used_as_weights_is_counted_by_hand(network: type[nn.Module], numbers: dict[str, int]):
    assert used(network()) == numbers


class Normalised(Base):
    """Running statistics of more channels than a table has values."""

    def prepare(self) -> None:
        self.wide, self.norm, self.narrow = nn.Conv2d(8, 96, 1), nn.BatchNorm2d(96), nn.Conv2d(96, 8, 1)
        self.norm.running_mean, self.norm.running_var = random(96), random(96) + 1

    def middle(self, y: Tensor) -> Tensor:
        return self.narrow(self.norm(self.wide(y)))


class NormalisedUnderInferenceMode(Normalised):
    """There the operator comes whole, under another name."""

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Masked(Base):
    """A pruning mask over a kernel, and one over features."""

    def prepare(self) -> None:
        self.register_buffer("keep", (random(8, 8, 3, 3) > 0).float())
        self.register_buffer("where", (random(1, 8, 16, 16) > 0).float())
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def middle(self, y: Tensor) -> Tensor:
        return F.conv2d(y, self.conv.weight * self.keep, padding=1) * self.where


class Filtered(Base):
    """Sobel's filter and a Gaussian, stored for each channel."""

    def prepare(self) -> None:
        taps = torch.exp(-((torch.arange(7) - 3.0) ** 2) / 4)
        self.register_buffer("blur", torch.outer(taps, taps).repeat(8, 1, 1, 1))
        self.register_buffer("edge", torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]).repeat(8, 1, 1, 1))

    def middle(self, y: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(y, self.blur, padding=3, groups=8), self.edge, padding=1, groups=8)


class Attending(Base):
    """Attention in windows with a table of relative positions, an index into it, and a mask of -100."""

    def prepare(self) -> None:
        self.table = nn.Parameter(random(1, 961))
        place = torch.arange(256)
        apart = place[:, None] - place[None, :]
        self.register_buffer("index", (apart // 16 + 15) * 31 + apart % 16)
        self.register_buffer("bias", random(256, 256))

    def middle(self, y: Tensor) -> Tensor:
        tokens = y.flatten(2).transpose(1, 2)
        scores = tokens @ tokens.transpose(1, 2) + self.table[0][self.index % 961] + self.bias
        return (scores.softmax(-1) @ tokens).transpose(1, 2).view_as(y)


class Computed(Base):
    """A window and coordinates, made of ranges in the forward pass."""

    def middle(self, y: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, 16) ** 2 + torch.arange(16).float() + torch.ones_like(y)
        return y * ramp * torch.hann_window(256).view(16, 16)


class Added(Base):
    """A table of positions that is added."""

    def prepare(self) -> None:
        self.register_buffer("positions", random(1, 8, 16, 16))

    def middle(self, y: Tensor) -> Tensor:
        return torch.cat((y, self.positions)).sum(0, keepdim=True) + self.positions


class SameSize(Base):
    """A buffer that is mixed into as many parameters: fused, they are no more."""

    def prepare(self) -> None:
        self.register_buffer("base", random(8, 8, 3, 3))
        self.change = nn.Conv2d(8, 8, 3, padding=1)

    def middle(self, y: Tensor) -> Tensor:
        return F.conv2d(y, self.base + self.change.weight, padding=1)


class Fused(Base):
    """Fuses two parameters in the forward pass, and moves them to another type and back."""

    def prepare(self) -> None:
        self.first, self.second = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1)

    def middle(self, y: Tensor) -> Tensor:
        fused = (self.second.weight[:, :, 0, 0].double() @ self.first.weight[:, :, 0, 0].double()).float()
        return F.conv2d(y, fused[..., None, None].clone())


class Spectral(Base):
    """A buffer smaller than the parameters that it is mixed into."""

    def prepare(self) -> None:
        self.register_buffer("u", random(72))
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def middle(self, y: Tensor) -> Tensor:
        norm = (self.conv.weight.view(8, 72) @ self.u).norm()
        return F.conv2d(y, self.conv.weight / norm, padding=1)


@pytest.mark.parametrize(
    "network",
    [
        Base,
        Normalised,
        NormalisedUnderInferenceMode,
        Masked,
        Filtered,
        Attending,
        Computed,
        Added,
        Fused,
        SameSize,
        Spectral,
        ByIndex,
    ],
)
def test_what_only_looks_like_weights_stays_quiet(network: type[nn.Module]):
    assert used(network()) == {}


def test_the_flag_says_how_many_and_where():
    (flag,) = [flag for flag in inspect(Buffers(), 1.0) if flag.code == "weights"]
    expected = "584 numbers in buffers are used as weights and are not in Params (largest: kernel, 576)"
    assert flag.text == expected


@pytest.mark.parametrize(("more", "codes"), [(0, ["weights"]), (20_000, [])])
def test_a_hundredth_of_the_parameters_is_no_news(more: int, codes: list[str]):
    network = Flat()
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
    network = Buffers()
    network.kernel.copy_((torch.arange(8 * 8 * 9) % levels).view(8, 8, 3, 3) / levels)
    network.bias = None
    assert used(network) == numbers
