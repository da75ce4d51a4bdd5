"""Sets of images that are in memory already, as a notebook has them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from eval.data.datasets import Dataset
from eval.data.images import ImageSize
from eval.data.pairs import SCALE
from eval.errors import UsageError

ARRAYS = "arrays in memory"


@dataclass(frozen=True, eq=False)
class ArrayPair:
    """One image, of no file: ``lr`` of ``(h, w, 3)`` and ``hr`` of ``(4h, 4w, 3)`` or None, uint8 RGB."""

    name: str
    lr: np.ndarray
    hr: np.ndarray | None
    files: ClassVar[tuple[Path, ...]] = ()

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return LR and HR."""
        return self.lr, self.hr


class ArrayDataset(Dataset):
    """A set of arrays: its hash is that of what they hold now, for no file's time tells whether they have changed."""

    def sha256_now(self) -> str:
        """Return the hash of all names and pixels as they are now."""
        return self._hashed()

    def _hashed(self) -> str:
        digest = hashlib.sha256()
        for pair in self.pairs:
            for part in pair.read():
                shape = "-" if part is None else str(part.shape)
                digest.update(f"{pair.name} {shape}\n".encode())
                digest.update(b"" if part is None else np.ascontiguousarray(part).data)
        return digest.hexdigest()


def dataset_of_arrays(pairs: Sequence[tuple[np.ndarray, np.ndarray | None]], name: str = "arrays") -> ArrayDataset:
    """Return a checked set of ``(lr, hr)`` arrays; ``hr`` may be None in all of them.

    Raises:
        UsageError: there is none, or an array has another type, shape or size than expected; the message says which.
    """
    if not isinstance(pairs, Iterable):
        raise UsageError(f"expected a set's name, its folder, or [(lr, hr), ...]; got {pairs!r:.80}")
    pairs = list(pairs)
    if not pairs:
        raise UsageError("expected at least one (lr, hr) pair of arrays, got none")
    found = []
    for index, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise UsageError(
                f"pair {index}: expected (lr, hr), two arrays or an array and None; got {type(pair).__name__}"
            )
        lr, hr = pair
        _check(f"pair {index}, lr", lr)
        if (hr is None) != (pairs[0][1] is None):
            raise UsageError(f"pair {index}: some pairs have an hr array and some have none")
        if hr is not None:
            _check(f"pair {index}, hr", hr)
            expected = (lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3)
            if hr.shape != expected:
                raise UsageError(f"pair {index}, hr: expected the shape {expected}, {SCALE} times lr's; got {hr.shape}")
        found.append(ArrayPair(f"{index:04}", lr, hr))
    sizes = tuple(ImageSize(*pair.lr.shape[:2]) for pair in found)
    return ArrayDataset(name, ARRAYS, Path(), tuple(found), sizes)


def _check(which: str, image: np.ndarray) -> None:
    is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not is_array or image.shape[2] != 3 or 0 in image.shape:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(f"{which}: expected a uint8 array (height, width, 3), RGB; got {got}")
