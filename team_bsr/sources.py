"""Folders of training images: finding them, and reading HR and LR image by image."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from eval.images import ImageError, is_image_file, read_image
from eval.resize import imresize

SCALE = 4
DECODED_AT_ONCE = 16


@dataclass(frozen=True)
class Sources:
    """Folders of HR images, searched with their subfolders.

    Attributes:
        hr: folders of HR images.
        lr: folders of LR images named as the HR ones, ``x4`` added or not; where empty, LR is made by exact bicubic.
        skip_bad: leave out unreadable images and name them, instead of stopping at the first.
    """

    hr: tuple[Path, ...]
    lr: tuple[Path, ...] = ()
    skip_bad: bool = False

    def images(self) -> list[Path]:
        """Return every HR image, sorted; raise ``FileNotFoundError`` for a folder without any."""
        found: list[Path] = []
        for folder in self.hr:
            inside = sorted(path for path in folder.rglob("*") if is_image_file(path))
            if not inside:
                raise FileNotFoundError(f"--data {folder}: expected a folder with HR images, found none there")
            found += inside
        return found


def decoded(images: Sequence[Path], partners: dict[Path, Path]) -> Iterator[tuple[Path, tuple | ImageError]]:
    """Yield each HR path with its decoded pair, or with what went wrong; a few are decoded at once, in order."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), DECODED_AT_ONCE):
            group = images[start : start + DECODED_AT_ONCE]
            yield from zip(group, pool.map(lambda path: _read_pair(path, partners.get(path)), group), strict=True)


def _read_pair(path: Path, partner: Path | None) -> tuple[np.ndarray, np.ndarray] | ImageError:
    """Read an HR image, cut at the right and bottom to a multiple of 4, and read or make its LR image."""
    try:
        hr = read_image(path)
        height, width = (side - side % SCALE for side in hr.shape[:2])
        if min(height, width) == 0:
            raise ImageError(f"{path}: expected at least {SCALE} pixels a side, got {hr.shape[1]}x{hr.shape[0]}")
        hr = np.ascontiguousarray(hr[:height, :width])
        if partner is None:
            return hr, imresize(hr, Fraction(1, SCALE))
        lr = read_image(partner)
    except ImageError as error:
        return error
    expected = (height // SCALE, width // SCALE, 3)
    if lr.shape[0] < expected[0] or lr.shape[1] < expected[1]:
        return ImageError(
            f"{partner}: expected {expected[1]}x{expected[0]} for {path}, got {lr.shape[1]}x{lr.shape[0]}"
        )
    return hr, np.ascontiguousarray(lr[: expected[0], : expected[1]])


def lr_partners(images: Iterable[Path], folders: Sequence[Path]) -> dict[Path, Path]:
    """Match every HR image with the LR image of its name, by stem, in any of the folders."""
    if not folders:
        return {}
    by_stem = {path.stem: path for folder in folders for path in folder.rglob("*") if is_image_file(path)}
    partners = {path: by_stem.get(f"{path.stem}x{SCALE}", by_stem.get(path.stem)) for path in images}
    missing = [path for path, partner in partners.items() if partner is None]
    if missing:
        names = ", ".join(map(str, folders))
        raise FileNotFoundError(
            f"--lr_data {names}: expected {missing[0].stem}x{SCALE}.* or {missing[0].stem}.* for {missing[0]}; "
            f"{len(missing)} HR images have no LR partner"
        )
    return partners
