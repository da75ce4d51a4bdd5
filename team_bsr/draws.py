"""Where training patches are cut: uniformly, or more often where an image holds detail and straight structure.

A rule is made once of all images, and then turns random numbers into places; equal numbers give equal places in every
process. Of images smaller than the patch nothing is drawn.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from team_bsr.sources import SCALE

GRID = 4
FLAT = 0.01
MOST_DETAIL = 24.0
STRUCTURE = 2.0


@dataclass(frozen=True)
class Places:
    """Which image each patch of a batch comes from, and its top left corner in LR pixels; three ``(batch,)`` arrays."""

    image: np.ndarray
    top: np.ndarray
    left: np.ndarray


class UniformDraw:
    """An image of those that are large enough, each as likely; then a place of it, each as likely."""

    def __init__(self, images: Sequence[tuple[np.ndarray, np.ndarray]], large: Sequence[int], side: int) -> None:
        self._large, self._side = np.array(large), side
        self._sizes = np.array([images[item][1].shape[:2] for item in large])

    def __call__(self, random: np.random.Generator, batch: int) -> Places:
        """Draw the places of a batch."""
        chosen = random.integers(len(self._large), size=batch)
        free = self._sizes[chosen] - self._side + 1
        top, left = (random.random((batch, 2)) * free).astype(int).T
        return Places(self._large[chosen], top, left)


class DetailDraw:
    """A cell of 4x4 places, by the weight of the patch at its corner (``patch_weights``); then a place of the cell."""

    def __init__(self, images: Sequence[tuple[np.ndarray, np.ndarray]], large: Sequence[int], side: int) -> None:
        self._large, self._side = np.array(large), side
        # Most of it is NumPy's and OpenCV's, which let other threads run.
        with ThreadPoolExecutor() as pool:
            weights = list(pool.map(lambda item: patch_weights(images[item][0], side), large))
        self._columns = np.array([weight.shape[1] for weight in weights])
        self._sizes = np.array([images[item][1].shape[:2] for item in large])
        self._starts = np.cumsum([0, *(weight.size for weight in weights[:-1])])
        self._until = np.cumsum(np.concatenate([weight.ravel() for weight in weights]))

    def __call__(self, random: np.random.Generator, batch: int) -> Places:
        """Draw the places of a batch."""
        cell = np.searchsorted(self._until, random.random(batch) * self._until[-1], side="right")
        chosen = np.searchsorted(self._starts, cell, side="right") - 1
        row_column = np.divmod(cell - self._starts[chosen], self._columns[chosen])
        corner = np.stack(row_column, 1) * GRID + random.integers(GRID, size=(batch, 2))
        top, left = np.minimum(corner, self._sizes[chosen] - self._side).T
        return Places(self._large[chosen], top, left)


DRAWS = {"uniform": UniformDraw, "detail": DetailDraw}


def patch_weights(hr: np.ndarray, side: int) -> np.ndarray:
    """Return how often a patch is to be drawn, for each fourth place of an image, as ``(rows, columns)`` float64.

    The weight is ``0.01 + detail * (1 + 2 * straightness)``. ``detail`` in [0, 1] is the RMS over the patch of what 4x4
    blocks lose by being averaged, of 24 grey levels, which are enough; a flat patch has 0. ``straightness`` in [0, 1]
    is the length of the mean of ``exp(4i angle)`` over the patch's gradients, weighted by their energy: 1 where they
    run along two directions at a right angle, as on facades, furniture and signs; near 0 in foliage.

    Args:
        hr: image ``(4h, 4w, 3)``, uint8.
        side: of the patch, LR pixels.
    """
    grey = hr.mean(2, dtype=np.float32)
    height, width = (length // SCALE for length in grey.shape)
    blocks = grey.reshape(height, SCALE, width, SCALE).transpose(0, 2, 1, 3).reshape(height, width, SCALE**2)
    lost = blocks.var(2)
    down, right = np.gradient(blocks.mean(2))
    gradient = right + 1j * down
    energy = np.abs(gradient) ** 2
    fourfold = gradient**4 / np.maximum(energy, 1e-6)
    detail = np.minimum(np.sqrt(np.maximum(_patch_means(lost, side), 0)) / MOST_DETAIL, 1)
    resultant = np.hypot(_patch_means(fourfold.real, side), _patch_means(fourfold.imag, side))
    straightness = resultant / np.maximum(_patch_means(energy, side), 1e-6)
    return FLAT + detail * (1 + STRUCTURE * straightness)


def _patch_means(values: np.ndarray, side: int) -> np.ndarray:
    """Return the mean over ``side`` by ``side`` values from each fourth place on."""
    sums = cv2.integral(values.astype(np.float64))
    means = (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2
    return means[::GRID, ::GRID]
