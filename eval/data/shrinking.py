"""A folder of LR images, made of HR images."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np

from eval.data.images import ImageError, ImageSize, read_image, write_png
from eval.data.pairs import cut, same_names
from eval.data.resize import imresize
from eval.errors import RunError, UsageError
from eval.words import counted


def write_lr_images(images: Sequence[Path], folder: Path, scale: int) -> None:
    """Write the LR image of each HR image, cut to multiples of ``scale``, as PNG; ``a.bmp`` gives ``ax4.png``.

    A file of that name is no fault if it holds the same pixels.

    Raises:
        UsageError: the folder is that of the HR images.
        RunError: images cannot be read, are too small, or would give one file or take another's place; the message
            lists all, none is written.
    """
    if folder.exists() and folder.samefile(images[0].parent):
        raise UsageError(f"{folder}: holds the HR images themselves; name another folder for the LR images")
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda path: _fault(path, _target(path, folder, scale), scale), images)
        faults = [*same_names((path.stem, path) for path in images), *filter(None, found)]
    if faults:
        listing = "\n".join(f"  {fault}" for fault in faults)
        raise RunError(
            f"{images[0].parent}: {counted(len(faults), 'fault')} found, so nothing was written to {folder}; mend, "
            f"rename or remove these files\n{listing}"
        )
    for path in images:
        write_png(_target(path, folder, scale), _shrunk(read_image(path), scale))


def _target(path: Path, folder: Path, scale: int) -> Path:
    return folder / f"{path.stem}x{scale}.png"


def _shrunk(hr: np.ndarray, scale: int) -> np.ndarray:
    return imresize(cut(hr, scale), Fraction(1, scale))


def _fault(path: Path, target: Path, scale: int) -> str | None:
    try:
        hr = read_image(path)
        size = ImageSize(*hr.shape[:2])
        if min(size.height, size.width) < scale:
            return f"{path}: expected at least {scale} pixels a side, to be shrunk by {scale}; got {size}"
        if os.path.lexists(target) and not np.array_equal(read_image(target), _shrunk(hr, scale)):
            return f"{target}: is there already, and is not the LR image of {path}"
    except ImageError as error:
        return str(error)
    return None
