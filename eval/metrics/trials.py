"""What a network does with inputs that an evaluation does not show it: other sizes, batches, ranges, the same twice."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.device.transfer import device_of
from eval.errors import one_reason
from eval.frozen import Frozen
from eval.metrics.branches import branches_of

SCALE = 4
# Odd, unequal, and as small as the crops that people try first.
SIZES = ((64, 64), (63, 61), (37, 90), (16, 16))
LARGEST_SIDE = 64
_SIDES = (1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 24, 32, 48, LARGEST_SIDE)
RANGES = (1.0, 255.0)
_SIDE = 64
Run = Callable[..., Tensor]


class Trials(Frozen):
    """What came of them; differences are shares of the data range.

    Attributes:
        sizes: for each size, "HEIGHTxWIDTH", what was wrong; nothing for "".
        least_side: of a square that it takes; None if it takes none.
        again: largest difference of two runs of one image, between which only the seed of torch's draws changes.
        after_another: the same with one seed, and another image run between.
        in_batch: largest difference of two images run together and each by itself; None if it takes no two.
        batch_fault: why it does not.
        not_finite: inputs for which the output holds NaN or infinity.
        psnr_db: of a drawn image with edges, reduced by 4, for each data range that the network may mean.
        branches: what could be fused into fewer convolutions.
        idle: how many parameters the forward pass does not read, in a sentence; "" where it reads all.
    """

    sizes: dict[str, str]
    least_side: int | None
    again: float
    after_another: float
    in_batch: float | None
    batch_fault: str
    not_finite: tuple[str, ...]
    psnr_db: dict[str, float]
    branches: tuple[str, ...]
    idle: str


@torch.no_grad()
def try_network(network: nn.Module, data_range: float, forward: Callable[[Tensor], Tensor] | None = None) -> Trials:
    """Run a network in eval mode about thirty times on small images, by ``forward`` if its harness calls it otherwise.

    Raises:
        Exception: what it raises for an image of 64x64; other sizes and batches may fail.
    """
    device, called = device_of(network), forward or network
    hr = drawn_image(SCALE * _SIDE).to(device)
    lr = F.interpolate(hr, scale_factor=1 / SCALE, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)

    def run(x: Tensor, its_range: float = data_range) -> Tensor:
        return called(x * its_range).float() / its_range

    with torch.random.fork_rng(devices=()):
        first, second, _, third = (_seeded(run, x, seed) for x, seed in ((lr, 0), (lr, 1), (lr.flip(-1), 2), (lr, 1)))
        batch, batch_fault = _in_batch(run, lr)
        return Trials(
            sizes={f"{height}x{width}": _fault_at(run, lr, height, width) for height, width in SIZES},
            least_side=next((side for side in _SIDES if not _fault_at(run, lr, side, side)), None),
            again=_apart(first, second),
            after_another=_apart(second, third),
            in_batch=batch,
            batch_fault=batch_fault,
            not_finite=tuple(_not_finite(run, lr)),
            psnr_db={f"{its:g}": _psnr(run(lr, its), hr) for its in dict.fromkeys((data_range, *RANGES))},
            **_left_from_training(network, lambda: run(lr)),
        )


def drawn_image(side: int) -> Tensor:
    """Return ``(1, 3, side, side)`` in [0, 1]: discs, stripes and slopes, so that range and sharpness both show."""
    y, x = torch.meshgrid(*[torch.linspace(0, 1, side)] * 2, indexing="ij")
    disc = ((x - 0.4) ** 2 + (y - 0.55) ** 2).sqrt() < 0.25
    stripes = ((6 * x + 4 * y) % 1 < 0.5) & (y < 0.4)
    light = 0.15 + 0.5 * x + 0.2 * y
    red = torch.where(disc, 0.85, light)
    green = torch.where(stripes, 0.1 + 0.6 * y, 0.8 * light)
    blue = torch.where(disc & (x < 0.4), 0.2, 0.9 - 0.6 * light)
    return torch.stack([red, green, blue]).unsqueeze(0)


def _seeded(run: Run, x: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return run(x)


def _fault_at(run: Run, lr: Tensor, height: int, width: int) -> str:
    """Return what is wrong with the output for an image of a size; nothing is ""."""
    x = lr.repeat(1, 1, 2, 2)[..., :height, :width]
    try:
        shape = tuple(run(x).shape)
    except Exception as error:
        return one_reason(error)
    expected = (1, 3, SCALE * height, SCALE * width)
    return "" if shape == expected else f"expected an output of shape {expected}, got {shape}"


def _in_batch(run: Run, lr: Tensor) -> tuple[float | None, str]:
    pair = torch.cat([lr, 0.5 * lr.flip(-1)])
    try:
        together = run(pair)
    except Exception as error:
        return None, one_reason(error)
    alone = torch.cat([run(image.unsqueeze(0)) for image in pair])
    if together.shape != alone.shape:
        return None, f"two images give the shape {tuple(together.shape)}, one by one {tuple(alone.shape)}"
    return _apart(together, alone), ""


def _not_finite(run: Run, lr: Tensor) -> Iterator[str]:
    noise = torch.rand(lr.shape, generator=torch.Generator().manual_seed(0)).to(lr.device)
    inputs = {"a drawn image": lr, "black": 0 * lr, "white": 0 * lr + 1, "noise": noise}
    yield from (name for name, x in inputs.items() if not run(x).isfinite().all())


def _left_from_training(network: nn.Module, run: Callable[[], Tensor]) -> dict[str, Any]:
    branches, idle = branches_of(network, run)
    # A sentence, for of a long list of names a worker's harness keeps the first ones alone.
    told = f"{len(idle)} parameters are never read (first: {idle[0]})" if idle else ""
    return {"branches": branches, "idle": told}


def _apart(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def _psnr(sr: Tensor, hr: Tensor) -> float:
    if sr.shape != hr.shape or not sr.isfinite().all():
        return 0.0
    return -10 * torch.log10((sr.clamp(0, 1) - hr).square().mean().clamp(min=1e-10)).item()
