"""Images that were decoded before, so that checking a set and running several models over it decode each file once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path

import numpy as np
import psutil

from eval.files import states_of

# The least of this and of an eighth of the memory that is free at first; an image may take an eighth of that.
_LIMIT_BYTES = 512 * 2**20
_SHARE = 8
_making = threading.Lock()


class DecodedImages:
    """Keeps at most ``limit_bytes`` of arrays made from files; the least recently used go first.

    Arrays are read-only. A file that was replaced or written to since is decoded again.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, path: Path, decode: Callable[[Path], np.ndarray]) -> np.ndarray:
        """Return ``decode(path)``, from memory if it is there; may be called by several threads."""
        try:
            key = (decode, *states_of((path,)))
        except OSError:
            # What is wrong with the file is the decoder's to say.
            return decode(path)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        image = decode(path)
        image.flags.writeable = False
        if image.nbytes <= self._limit_bytes // _SHARE:
            self._keep(key, image)
        return image

    def _keep(self, key: Hashable, image: np.ndarray) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = image
            self._bytes += image.nbytes
            while self._bytes > self._limit_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes


def decoded_images() -> DecodedImages:
    """Return this process's store."""
    # Of two threads that ask first, only one may make it.
    with _making:
        return _store()


@cache
def _store() -> DecodedImages:
    return DecodedImages(min(_LIMIT_BYTES, psutil.virtual_memory().available // _SHARE))
