"""A folder of LR images, made of HR images."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from eval.data.images import ImageError, ImageSize, read_image, write_png
from eval.data.pairs import cut, same_names
from eval.data.resize import imresize
from eval.errors import RunError


def write_lr_images(images: Sequence[Path], folder: Path, scale: int) -> None:
    """Write the LR image of each HR image, cut to multiples of ``scale``, as PNG; ``a.bmp`` gives ``ax4.png``.

    Raises:
        RunError: images cannot be read, are too small, or would give one file; the message lists all, none is written.
    """
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda path: _fault(path, scale), images)
        faults = [*same_names((path.stem, path) for path in images), *filter(None, found)]
    if faults:
        listing = "\n".join(f"  {fault}" for fault in faults)
        raise RunError(
            f"{images[0].parent}: {len(faults)} fault(s) found, so nothing was written to {folder}; mend, rename or "
            f"remove these files\n{listing}"
        )
    for path in images:
        lr = imresize(cut(read_image(path), scale), Fraction(1, scale))
        write_png(folder / f"{path.stem}x{scale}.png", lr)


def _fault(path: Path, scale: int) -> str | None:
    try:
        size = ImageSize(*read_image(path).shape[:2])
    except ImageError as error:
        return str(error)
    small = min(size.height, size.width) < scale
    return f"{path}: expected at least {scale} pixels a side, to be shrunk by {scale}; got {size}" if small else None
