"""Which pictures can be compared: SR images found on disk that are proven to be those of the records.

What decodes images is imported where there are some: a report without pictures needs none of it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from eval.errors import RunError, UsageError
from eval.records.conditions import Conditions
from eval.records.record import Record
from eval.records.store import RECORDS_FOLDER

if TYPE_CHECKING:
    from eval.data.datasets import Dataset
    from eval.data.pairs import ImagePair

_SAME_DB = 1e-6


@dataclass(frozen=True)
class ModelImages:
    """A model in a comparison: its label on the page, its record on the set, and the folders its images can lie in."""

    label: str
    record: Record
    folders: tuple[Path, ...]

    def read(self, image: str, hr: np.ndarray) -> np.ndarray | None:
        """Return the SR image ``(h, w, 3)`` whose PSNR is the recorded one; None if no file is.

        A record can name any path; a file that it did not measure is not shown.
        """
        from eval.data.images import ImageError, read_image
        from eval.metrics.psnr_ssim import psnr

        expected = self.record.psnrs_db.get(image)
        if expected is None:
            return None
        for folder in self.folders:
            path = folder / f"{image}.png"
            if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
                continue
            try:
                sr = read_image(path)
            except ImageError:
                continue
            if sr.shape == hr.shape and math.isclose(psnr(sr, hr), expected, rel_tol=0, abs_tol=_SAME_DB):
                return sr
        return None


@dataclass(frozen=True)
class Interest:
    """Why an image is worth a look: how hard it is, and how far networks disagree on it; both in dB."""

    name: str
    mean_db: float
    spread_db: float


@dataclass(frozen=True)
class Comparison:
    """A set whose pictures can be compared: who has images, which, and the pairs they belong to."""

    dataset: str
    models: tuple[ModelImages, ...]
    interests: tuple[Interest, ...]
    pairs: dict[str, "ImagePair"]

    def read(self, image: str) -> tuple[np.ndarray, np.ndarray]:
        """Return an image's LR and HR, ``(h, w, 3)`` and ``(4h, 4w, 3)`` uint8.

        Raises:
            RunError: there is no HR image any more.
        """
        lr, hr = self.pairs[image].read()
        if hr is None:
            raise RunError(f"{self.dataset}, {image}: no HR image")
        return lr, hr


def image_roots(places: Sequence[Path]) -> tuple[Path, ...]:
    """Return the folders beside whose records SR images lie, for places as ``find_records`` takes them."""
    folders = (place.parent if place.is_file() else place for place in places)
    return tuple(dict.fromkeys(its if (its / RECORDS_FOLDER).is_dir() else its.parent for its in folders))


def set_of(conditions: Conditions) -> str:
    """Return what pictures are told apart by: the set, and how networks ran if not as plain torch in float32."""
    return ", ".join(filter(None, (conditions.dataset, conditions.manner)))


def models_of(records: Iterable[tuple[str, Record]], roots: Sequence[Path]) -> list[ModelImages]:
    """Return one model a label whose folder of SR images exists under one of the roots."""
    found: dict[str, ModelImages] = {}
    for label, record in records:
        inside = [(root, root / record.sr_folder) for root in roots]
        folders = tuple(its for root, its in inside if its.is_dir() and its.resolve().is_relative_to(root.resolve()))
        if record.complete and folders and label not in found:
            found[label] = ModelImages(label, record, folders)
    return list(found.values())


def rank_images(models: Sequence[ModelImages]) -> list[Interest]:
    """Return the images that all models have a PSNR of; the hardest and the most contested by turns."""
    networks = [its for its in models if its.record.model.is_network] or models
    psnrs_db = [its.record.psnrs_db for its in networks]
    interests = []
    for image in models[0].record.images:
        figures = [its[image.name] for its in psnrs_db if image.name in its]
        if len(figures) == len(networks) and max(figures) < math.inf:
            interests.append(Interest(image.name, fmean(figures), max(figures) - min(figures)))
    hardest = sorted(interests, key=lambda its: its.mean_db)
    contested = sorted(interests, key=lambda its: -its.spread_db)
    return list(dict.fromkeys(filter(None, chain(*zip_longest(contested, hardest)))))


def find_dataset(record: Record) -> "Dataset":
    """Open the set that a record was made on.

    Raises:
        UsageError: it is no longer there.
        RunError: files of it are missing or damaged.
    """
    from eval.data.datasets import is_sample, open_dataset
    from eval.data.finding import SAMPLE

    its = record.dataset
    if is_sample(its.name, its.folder):
        return open_dataset(None, SAMPLE)
    folder = Path(its.folder)
    try:
        return open_dataset(folder, its.name)
    except UsageError:
        return open_dataset(folder, None)


def readable(models: Sequence[ModelImages], image: str, hr: np.ndarray) -> Iterator[tuple[ModelImages, np.ndarray]]:
    """Yield each model's SR image, of those that have it."""
    for model in models:
        if (sr := model.read(image, hr)) is not None:
            yield model, sr


def find_comparison(dataset: str, models: Sequence[ModelImages]) -> Comparison | None:
    """Return what can be compared of a set; None where there are no SR images, or no ground truth any more."""
    if not models:
        return None
    try:
        pairs = {pair.name: pair for pair in find_dataset(models[0].record).pairs if pair.hr is not None}
    except (UsageError, RunError, OSError):
        # It is gone, or a folder that this user may not look into.
        return None
    interests = tuple(its for its in rank_images(models) if its.name in pairs)
    return Comparison(dataset, tuple(models), interests, pairs) if interests else None
