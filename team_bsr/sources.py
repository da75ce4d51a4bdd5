"""Folders of training images: pairing HR with LR, and reading them image by image."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from eval.data.images import ImageError, ImageSize, is_image_file, read_image
from eval.data.pairs import SCALE
from eval.data.resize import imresize
from eval.errors import RunError, UsageError

DECODED_AT_ONCE = 16
BAD_ADVICE = "repair or remove it, or leave such files out with --skip_bad"


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


def decoded(
    images: Sequence[Path], partners: dict[Path, Path], faults: list[str] | None, what: str = "images"
) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    """Yield each HR path with its HR and LR image; a few are decoded at once, in order.

    Images that cannot be used are left out, and what is wrong with them goes into ``faults``.

    Raises:
        RunError: one cannot be used, and ``faults`` is None; or none can, and ``what`` says which they are.
    """
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), DECODED_AT_ONCE):
            group = images[start : start + DECODED_AT_ONCE]
            read = pool.map(lambda path: _read_pair(path, partners.get(path)), group)
            for path, pair in zip(group, read, strict=True):
                if not isinstance(pair, ImageError):
                    yield path, *pair
                elif faults is not None:
                    faults.append(str(pair))
                else:
                    raise RunError(f"{pair}; {BAD_ADVICE}")
    if faults and len(faults) == len(images):
        raise RunError(f"none of the {len(images)} {what} could be read; the first: {faults[0]}")


def _read_pair(path: Path, partner: Path | None) -> tuple[np.ndarray, np.ndarray] | ImageError:
    """Read an HR image, cut at the right and bottom to a multiple of 4, and read or make its LR image."""
    try:
        hr = read_image(path)
        lr = None if partner is None else read_image(partner)
    except ImageError as error:
        return error
    if fault := pair_fault(path, ImageSize(*hr.shape[:2]), partner, None if lr is None else ImageSize(*lr.shape[:2])):
        return ImageError(fault)
    height, width = (side // SCALE for side in hr.shape[:2])
    hr = np.ascontiguousarray(hr[: height * SCALE, : width * SCALE])
    return hr, imresize(hr, Fraction(1, SCALE)) if lr is None else np.ascontiguousarray(lr[:height, :width])


def pair_fault(path: Path, hr: ImageSize, partner: Path | None, lr: ImageSize | None) -> str | None:
    """Say what is wrong with the sizes of an HR image and of its LR image, if there is one.

    A quarter may have been rounded down or up.
    """
    if min(hr.height, hr.width) < SCALE:
        return f"{path}: expected at least {SCALE} pixels a side, got {hr}"
    quarter = ImageSize(hr.height // SCALE, hr.width // SCALE)
    if lr is None or (lr.height - quarter.height in (0, 1) and lr.width - quarter.width in (0, 1)):
        return None
    return f"{partner}: expected {quarter} for {path}, got {lr}"


def lr_partners(images: Iterable[Path], sources: Sources) -> dict[Path, Path]:
    """Match every HR image with the LR image of its name, by stem, in any of the folders ``sources.lr``.

    Of several the one counts that lies in the HR image's own subfolder.

    Raises:
        FileNotFoundError: an HR image has no LR partner.
        UsageError: it has several.
    """
    if not sources.lr:
        return {}
    by_stem = defaultdict(list)
    for folder in sources.lr:
        for path in filter(is_image_file, folder.rglob("*")):
            by_stem[path.stem].append((path, path.relative_to(folder).parent))
    found = {path: next((by_stem[stem] for stem in _lr_stems(path) if stem in by_stem), None) for path in images}
    missing = [path for path, candidates in found.items() if candidates is None]
    if missing:
        raise FileNotFoundError(
            f"{_lr_flag(sources)}: expected {missing[0].stem}x{SCALE}.* or {missing[0].stem}.* for {missing[0]}; "
            f"{len(missing)} HR images have no LR partner"
        )
    return {path: _partner(path, candidates, sources) for path, candidates in found.items() if candidates}


def _partner(hr: Path, candidates: Sequence[tuple[Path, Path]], sources: Sources) -> Path:
    """Return the one LR image of several files, each with its subfolder; a folder named twice makes no second one."""
    subfolders = {hr.relative_to(folder).parent for folder in sources.hr if hr.is_relative_to(folder)}
    # Where HR and LR lie in one folder, the HR image itself is found too.
    others = [(path, inside) for path, inside in candidates if path.resolve() != hr.resolve()] or candidates
    beside = [(path, inside) for path, inside in others if inside in subfolders]
    for some in (others, beside):
        files = {path.resolve(): path for path, _ in some}
        if len(files) == 1:
            return files.popitem()[1]
    names = " and ".join(sorted({str(path) for path, _ in others}))
    raise UsageError(
        f"{_lr_flag(sources)}: expected one LR image for {hr}, got {names}; remove the wrong ones, name the folder of "
        "the right ones alone, or lay LR images into the subfolders of their HR images"
    )


def _lr_flag(sources: Sources) -> str:
    return f"--lr_data {', '.join(map(str, sources.lr))}"


def _lr_stems(hr: Path) -> tuple[str, ...]:
    """Return the names that an HR file's LR partner may have, the most telling first."""
    marked = (f"{hr.stem.removesuffix('_HR')}_LR",) if hr.stem.endswith("_HR") else ()
    return *marked, f"{hr.stem}x{SCALE}", hr.stem
