"""Inputs that no model has met before, and what the outputs for them tell: a timed round is work, and the same work.

A model that keeps outputs by their inputs, or that does less once it knows that it is timed, would be ranked by times
of other work than was judged.
"""

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from eval.data.pairs import ImagePair
from eval.metrics.figures import Flag
from eval.metrics.psnr_ssim import psnr
from eval.words import counted

# Each undoes itself, and keeps the size.
_TURNS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda image: image,
    lambda image: image[:, ::-1],
    lambda image: image[::-1],
    lambda image: image[::-1, ::-1],
)
_CHANGED_PIXELS = 8
# Networks are not quite the same for turned images, of each in another way: the mean of so many images moves by less.
# Of the 157 timings on Set14 of docs/results/all-years.md none comes above two thirds of this, 4 to 11 images each.
_MARGIN_DB, _LEAST_MARGIN_DB = 0.3, 0.1


class Fresh(NamedTuple):
    """An input in another form: turned by ``_TURNS[turn]``, with one grey level more or less in a few pixels."""

    lr: np.ndarray
    turn: int

    def upright(self, sr: np.ndarray) -> np.ndarray:
        """Return an output for it as it would stand beside the HR image."""
        return np.ascontiguousarray(_TURNS[self.turn](sr))


def fresh(lr: np.ndarray, random: np.random.Generator) -> Fresh:
    """Return an ``(h, w, 3)`` uint8 image in a form that is as good as never drawn twice; its size stays."""
    turn = int(random.integers(len(_TURNS)))
    turned = _TURNS[turn](lr).copy()
    values = turned.reshape(-1)
    places = random.choice(values.size, min(_CHANGED_PIXELS, values.size), replace=False)
    upwards = random.integers(2, size=places.size).astype(bool)
    upwards = (upwards | (values[places] == 0)) & (values[places] < 255)
    values[places] = np.where(upwards, values[places] + 1, values[places] - 1)
    return Fresh(turned, turn)


class Outputs:
    """What models return in the timed rounds; ``random`` chooses what is judged, and nobody else may know of it."""

    def __init__(self, pairs: Sequence[ImagePair], random: np.random.Generator) -> None:
        self._pairs, self._random = pairs, random
        self._prints: dict[tuple[int, int], set[int]] = defaultdict(set)
        self._repeated, self._count = Counter[int](), Counter[int]()
        self._psnrs: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def judged_image(self) -> int:
        """Choose the image of a round whose outputs are judged."""
        return int(self._random.integers(len(self._pairs)))

    def note(self, image: int, outputs: Sequence[np.ndarray]) -> None:
        """Remember all models' outputs for a fresh form of an image, upright again."""
        for model, sr in enumerate(outputs):
            mark = zlib.crc32(np.ascontiguousarray(sr).data)
            self._count[model] += 1
            self._repeated[model] += mark in self._prints[model, image]
            self._prints[model, image].add(mark)

    def judge(self, image: int, outputs: Sequence[np.ndarray]) -> None:
        """Take the PSNR of all models' outputs, upright, where there is an HR image."""
        pair = self._pairs[image]
        hr = pair.read()[1]
        for model, sr in enumerate(outputs):
            if hr is not None and sr.shape == hr.shape:
                self._psnrs[model][pair.name].append(psnr(sr, hr))

    def psnr_db(self, model: int) -> dict[str, float]:
        """Return a model's mean PSNR in the timed rounds, by image, of those that were judged."""
        return {name: float(np.mean(figures)) for name, figures in self._psnrs[model].items()}

    def flags(self, model: int) -> list[Flag]:
        """Flag equal outputs for unequal inputs."""
        repeated = self._repeated[model]
        text = f"returned what it had returned before for another input, {repeated} of {self._count[model]} times"
        return [Flag(code="timed", text=text)] if repeated else []


def differing_psnr(timed_db: Mapping[str, float], judged_db: Mapping[str, float]) -> Flag | None:
    """Flag outputs of the timed rounds that are not as good as those of the accuracy pass; both dB by image."""
    shared = [name for name in timed_db if name in judged_db and np.isfinite([timed_db[name], judged_db[name]]).all()]
    infinite = [name for name in timed_db if np.isinf(judged_db.get(name, 0.0)) != np.isinf(timed_db[name])]
    difference_db = float(np.mean([timed_db[name] - judged_db[name] for name in shared])) if shared else 0.0
    margin_db = max(_MARGIN_DB / math.sqrt(len(shared) or 1), _LEAST_MARGIN_DB)
    if abs(difference_db) <= margin_db and not infinite:
        return None
    told = (
        f"by {difference_db:+.2f} dB on the mean of {counted(len(shared), 'image')}"
        if shared
        else "by an infinite PSNR"
    )
    return Flag(code="timed", text=f"timed output differs from the judged one {told}; {margin_db:.2f} dB are allowed")
