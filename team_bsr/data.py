"""Training images: decoded once into one flat file, from which crops are read through a memory map.

Decoding a 2K image takes longer than training on a crop of it. So ``open_pairs`` writes the pixels of every HR image
and of its LR image, uncompressed, into a cache; reading a crop is then a few page reads, which the system keeps in
memory where there is room and which all worker processes share.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from eval.data import likeness
from eval.files import atomic_path, write_whole
from team_bsr.sources import SCALE, decoded
from team_bsr.survey import Survey

FORMAT = 2


@dataclass(frozen=True)
class CachedPair:
    """Where one image stands in the cache: LR size in pixels (HR has 4 times it), offsets in bytes.

    ``thumbnail`` is the image's, in hexadecimal, by which copies of it are known.
    """

    name: str
    height: int
    width: int
    hr_offset: int
    lr_offset: int
    thumbnail: str


class Pairs:
    """The images of a cache; item i is ``(hr, lr)``, read-only uint8 arrays ``(4h, 4w, 3)`` and ``(h, w, 3)``.

    ``crc32`` is the checksum of all pixels, by which a run knows its images again.
    """

    def __init__(self, file: Path, index: Sequence[CachedPair], skipped: Sequence[str], crc32: int) -> None:
        self.index, self.skipped, self.crc32, self._file = tuple(index), tuple(skipped), crc32, file
        # All pixels of all images, flat; ``index`` says where each begins.
        self.pixels = np.memmap(file, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        pair = self.index[item]
        return self._view(pair.hr_offset, pair, SCALE), self._view(pair.lr_offset, pair, 1)

    def _view(self, offset: int, pair: CachedPair, scale: int) -> np.ndarray:
        shape = (pair.height * scale, pair.width * scale, 3)
        return self.pixels[offset : offset + int(np.prod(shape))].reshape(shape)

    def thumbnails(self) -> dict[str, np.ndarray]:
        """Return the thumbnail of each image by its file."""
        shape = (likeness.SIDE, likeness.SIDE)
        return {pair.name: np.frombuffer(bytes.fromhex(pair.thumbnail), np.uint8).reshape(shape) for pair in self.index}

    def __reduce__(self) -> tuple:
        return Pairs, (self._file, self.index, self.skipped, self.crc32)


def open_pairs(images: Survey, cache: Path) -> Pairs:
    """Open the cache of ``images`` under the folder ``cache``, and fill it first if it isn't there.

    The cache is named by a hash of every file's path, size and time, so changed images are read again.

    Raises:
        RunError: an image cannot be read, and ``skip_bad`` is not set.
    """
    stamps = [(_stamp(path), _stamp(images.partners.get(path))) for path in images.images]
    key = sha256(json.dumps([FORMAT, stamps, images.sources.skip_bad]).encode()).hexdigest()[:16]
    pixels, index = cache / f"{key}.pixels", cache / f"{key}.json"
    if not index.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_path(pixels) as partial:
            record = _fill(partial, images)
        # The index comes last: where it is, the pixels are whole.
        write_whole(index, json.dumps(record))
    record = json.loads(index.read_text(encoding="utf-8"))
    return Pairs(pixels, [CachedPair(**pair) for pair in record["pairs"]], record["skipped"], record["crc32"])


def _stamp(path: Path | None) -> tuple[str, int, int] | None:
    return None if path is None else (str(path), path.stat().st_size, path.stat().st_mtime_ns)


def _fill(target: Path, images: Survey) -> dict[str, Any]:
    """Write the pixels of all images to ``target``; return the index: where they stand, checksum, what was skipped."""
    pairs: list[CachedPair] = []
    skipped: list[str] = []
    crc32 = 0
    with target.open("wb") as file:
        for path, hr, lr in decoded(list(images.images), images.partners, skipped if images.sources.skip_bad else None):
            start, thumbnail = file.tell(), likeness.thumbnail(hr).tobytes().hex()
            pairs.append(CachedPair(str(path), lr.shape[0], lr.shape[1], start, start + hr.size, thumbnail))
            pixels = hr.tobytes() + lr.tobytes()
            crc32 = zlib.crc32(pixels, crc32)
            file.write(pixels)
    return {"pairs": [asdict(pair) for pair in pairs], "skipped": skipped, "crc32": crc32}
