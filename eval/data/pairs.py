"""Pairs of LR and HR images: reading them, and checking that their files fit together."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from eval.data.image_cache import decoded_images
from eval.data.images import ImageError, ImageSize, read_image
from eval.data.resize import imresize
from eval.metrics.psnr_ssim import CROP_BORDER

SCALE = 4
MIN_HR_SIDE = 2 * CROP_BORDER + SCALE


@dataclass(frozen=True)
class ImagePair:
    """One image of a set; ``lr`` is None where it is made from the HR image, ``hr`` where there is none."""

    name: str
    lr: Path | None
    hr: Path | None

    @property
    def files(self) -> list[Path]:
        """The files that it is read from, LR first."""
        return [path for path in (self.lr, self.hr) if path]

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return LR and HR, uint8 RGB, read-only; HR is cut at right and bottom to multiples of 4.

        Images that this process decoded before are not decoded again, as long as there is memory for them.
        """
        images = decoded_images()
        hr = None if self.hr is None else cut(images.get(self.hr, read_image))
        if self.lr is not None:
            return images.get(self.lr, read_image), hr
        assert self.hr is not None
        return images.get(self.hr, _shrunk), hr


def cut(hr: np.ndarray, scale: int = SCALE) -> np.ndarray:
    """Return an image ``(h, w, ...)`` without what is beyond multiples of the scale at right and bottom."""
    return hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]


def _shrunk(hr: Path) -> np.ndarray:
    return imresize(cut(decoded_images().get(hr, read_image)), Fraction(1, SCALE))


def check_pairs(pairs: Iterable[ImagePair]) -> tuple[list[ImageSize], list[str]]:
    """Check files, sizes and names of pairs; return the LR size of each that can be used, and a sentence a fault."""
    pairs = list(pairs)
    with ThreadPoolExecutor() as pool:
        checks = list(pool.map(_check_pair, pairs))
    repeated = same_names((pair.name, pair.hr or pair.lr) for pair in pairs)
    faults = [*repeated, *_unspeakable(pairs), *(fault for _, found in checks for fault in found)]
    return [size for size, _ in checks if size], faults


def same_names(images: Iterable[tuple[str, Path | None]]) -> Iterator[str]:
    """Name the images, each a name and its file, whose results would overwrite each other, on any file system."""
    by_name = defaultdict(list)
    for name, path in images:
        by_name[unicodedata.normalize("NFC", name).casefold()].append(str(path))
    for paths in by_name.values():
        if len(paths) > 1:
            yield f"{' and '.join(paths)}: have the same name"


def _unspeakable(pairs: Iterable[ImagePair]) -> Iterator[str]:
    """Name the files whose path is no text, as unpacking an old zip makes it: no record could hold it."""
    for path in dict.fromkeys(path for pair in pairs for path in pair.files):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            yield f"{str(path)!a}: expected a path in UTF-8; rename it"


def _check_pair(pair: ImagePair) -> tuple[ImageSize | None, list[str]]:
    """Return the LR size of a pair and what is wrong with its files."""
    faults: list[str] = []
    hr, lr = (_size(path, faults) for path in (pair.hr, pair.lr))
    if hr and min(hr.height, hr.width) < MIN_HR_SIDE:
        faults.append(f"{pair.hr}: {hr} pixels; both sides must be at least {MIN_HR_SIDE} to be measured")
    expected = hr and ImageSize(hr.height // SCALE, hr.width // SCALE)
    if hr and lr and lr != expected:
        faults.append(f"{pair.lr}: {lr} pixels; expected {expected}, a quarter of {pair.hr} ({hr})")
    return lr or expected, faults


def _size(path: Path | None, faults: list[str]) -> ImageSize | None:
    try:
        return ImageSize(*decoded_images().get(path, read_image).shape[:2]) if path else None
    except ImageError as error:
        faults.append(str(error))
        return None
