"""Whether two images are the same picture, also recompressed or resized.

Compared are thumbnails of 16x16 grey levels. Of 829 photographs, JPEG of quality 30 and shrinking to a quarter move a
thumbnail by 2.4 levels (RMS) at most, and two different pictures are 8 apart at least, but for two views of one facade
at 2.7. A difference hash of as many bits parts them less well where a picture is smooth.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from eval.data.datasets import Dataset
from eval.data.images import ImageError, read_image
from eval.data.pairs import SCALE, cut

SIDE = 16
MOST_APART = 4.0
# LR images of 119 photographs at other levels (gamma 0.45 to 2.2), by nearest sampling or blurred by 3 pixels have a
# correlation of 0.939 with HR at least; of 134,421 pairs of pictures two are above 0.901, one of them of one facade.
_LEAST_CORRELATION = 0.92


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return the ``(16, 16)`` uint8 grey thumbnail of an ``(h, w, 3)`` uint8 image, cut to multiples of 4 as for x4.

    Its sides have at least 4 pixels.
    """
    grey = cut(image).mean(2, dtype=np.float32)
    return np.rint(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)).astype(np.uint8)


def thumbnails(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return the thumbnail of each file by its path; files that are unreadable or below 4 pixels a side have none."""
    with ThreadPoolExecutor() as pool:
        found = zip(map(str, files), pool.map(_thumbnail_of, files), strict=True)
        return {name: thumbnail for name, thumbnail in found if thumbnail is not None}


def are_alike(first: Path, second: Path) -> bool:
    """Tell whether two files hold the same picture."""
    found = list(thumbnails((first, second)).values())
    return len(found) == 2 and bool(_apart(*found) <= MOST_APART)


def shared_images(sets: Sequence[Dataset], trained_on: Mapping[str, np.ndarray]) -> list[str]:
    """Return a warning for each set of which pictures are among the training images, thumbnails by file."""
    if not trained_on:
        return []
    names, known = list(trained_on), np.array(list(trained_on.values()))
    warnings = []
    for dataset in sets:
        shared = []
        for pair in dataset.pairs:
            _, hr = pair.read()
            assert hr is not None
            apart = _apart(known, thumbnail(hr))
            if apart.min() <= MOST_APART:
                shared.append(f"{pair.name} ({names[int(apart.argmin())]})")
        if shared:
            warnings.append(
                f"warning: {len(shared)} of {len(dataset.pairs)} validation images of {dataset.name} are trained on, "
                f"so its PSNR says little: {', '.join(shared)}"
            )
    return warnings


def _thumbnail_of(path: Path) -> np.ndarray | None:
    try:
        image = read_image(path)
    except ImageError:
        return None
    return thumbnail(image) if min(image.shape[:2]) >= SCALE else None


def alike(thumbnails_: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which of several thumbnails, ``(n, 16, 16)``, hold the picture of another one."""
    return _apart(thumbnails_, other) <= MOST_APART


def shown_by(thumbnails_: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which of several thumbnails, ``(n, 16, 16)``, hold the picture of another one, at whatever levels."""
    pixels, its = (
        np.float32(each) - np.mean(each, (-2, -1), np.float32, keepdims=True) for each in (thumbnails_, other)
    )
    norms = np.sqrt((pixels**2).sum((-2, -1)) * (its**2).sum())
    return alike(thumbnails_, other) | ((pixels * its).sum((-2, -1)) > _LEAST_CORRELATION * norms)


def _apart(thumbnails_: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sqrt(((np.float32(thumbnails_) - np.float32(other)) ** 2).mean((-2, -1)))
