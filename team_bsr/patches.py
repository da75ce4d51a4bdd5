"""Random training patches whose choice depends on seed, step and iteration alone.

No generator's state has to be stored to resume, and neither the number of worker processes nor that of machines
changes what is drawn: each process takes its share of the same global batch.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eval.errors import RunError, UsageError
from team_bsr.data import Pairs
from team_bsr.draws import DRAWS
from team_bsr.recipe import Step
from team_bsr.sources import SCALE


@dataclass(frozen=True)
class Sampling:
    """How one of ``world`` processes, counted from 0, draws a step's patches; ``seed`` is the generator's first key."""

    step: Step
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.step.batch % self.world:
            raise UsageError(
                f"step {self.step.number}: batch: expected a multiple of the {self.world} processes, "
                f"got {self.step.batch}"
            )


ORDERS = np.array(list(permutations(range(3))))


class Drawn(NamedTuple):
    """What was drawn for a process's share of a batch: four ``(b,)`` arrays, and the order of channels, ``(b, 3)``."""

    image: np.ndarray
    top: np.ndarray
    left: np.ndarray
    turn: np.ndarray
    channels: np.ndarray


def large_images(pairs: Pairs, step: Step) -> list[int]:
    """Return the numbers of the images that a step's patches can be cut of.

    Raises:
        RunError: there is none.
    """
    side = step.hr_patch // SCALE
    large = [item for item, pair in enumerate(pairs.index) if min(pair.height, pair.width) >= side]
    if not large:
        raise RunError(
            f"step {step.number}: patches of {step.hr_patch} pixels a side: expected an image of at least that, "
            f"all {len(pairs)} are smaller"
        )
    return large


class PatchBatches(Dataset):
    """Item i is the batch of iteration i: ``(lr, hr)``, uint8, ``(b, 3, p, p)`` and ``(b, 3, 4p, 4p)``, RGB.

    A place aligned to the LR grid is drawn by the sampling's rule, then one of the eight flips and rotations, and one
    of the six orders of channels where they are permuted. Of images smaller than the patch nothing is drawn.
    """

    def __init__(self, pairs: Pairs, sampling: Sampling) -> None:
        self.pairs, self.sampling, step = pairs, sampling, sampling.step
        self.draw = DRAWS[step.draw](pairs, large_images(pairs, step), step.hr_patch // SCALE)

    def drawn(self, iteration: int) -> Drawn:
        """Return image, place in LR pixels, turn and channels of each patch of this process's share."""
        sampling, step, batch = self.sampling, self.sampling.step, self.sampling.step.batch
        random = np.random.default_rng([sampling.seed, step.number, iteration])
        places, turns = self.draw(random, batch), random.integers(8, size=batch)
        # Drawn last, and only then: runs without it draw what they always did.
        orders = random.integers(len(ORDERS), size=batch) if step.permute_channels else np.zeros_like(turns)
        share = batch // sampling.world
        own = slice(sampling.rank * share, (sampling.rank + 1) * share)
        return Drawn(places.image[own], places.top[own], places.left[own], turns[own], ORDERS[orders[own]])

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor]:
        side, lr, hr = self.sampling.step.hr_patch // SCALE, [], []
        for image, top, left, turn, channels in zip(*self.drawn(iteration), strict=True):
            hr_image, lr_image = self.pairs[image]
            lr.append(_patch(lr_image, top, left, side, turn)[channels])
            hr.append(_patch(hr_image, top * SCALE, left * SCALE, side * SCALE, turn)[channels])
        return torch.from_numpy(np.stack(lr)), torch.from_numpy(np.stack(hr))


def _patch(image: np.ndarray, top: int, left: int, side: int, turn: int) -> np.ndarray:
    """Cut ``(side, side, 3)`` out and return it turned, as ``(3, side, side)``."""
    return turned(image[top : top + side, left : left + side], turn).transpose(2, 0, 1)


def turned(patch: np.ndarray, turn: int) -> np.ndarray:
    """Return a patch in one of eight ways: rotated ``turn`` times by 90 degrees, mirrored from 4 on."""
    rotated = np.rot90(patch, turn)
    return rotated[:, ::-1] if turn >= 4 else rotated
