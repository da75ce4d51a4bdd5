"""What a set was taken for, in sentences: how its files pair, and what beside it is not used."""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from eval.data.datasets import Dataset, is_sample
from eval.data.finding import HR_FOLDER, LR_FOLDER
from eval.data.layouts import has_images
from eval.data.naming import Role, folders_below, near, read_name
from eval.data.pairs import SCALE, ImagePair

_LACKING: dict[str, Role] = {HR_FOLDER: "LR", LR_FOLDER: "HR"}


def description(dataset: Dataset) -> list[str]:
    """Return what a set was taken for, a sentence a line; none for what has no files."""
    on_disk = [pair for pair in dataset.pairs if isinstance(pair, ImagePair)]
    if not on_disk or is_sample(dataset.name, dataset.folder):
        return []
    grey = f"{dataset.num_grey} of {len(on_disk)} are grey: measured as RGB with three equal channels"
    return [how_it_pairs(dataset), *not_used(dataset), *([grey] if dataset.num_grey else []), *_copies(on_disk)]


def how_it_pairs(dataset: Dataset) -> str:
    """Return where HR and LR lie and how their names go together: ``HR: HR/NAME; LR: LR_bicubic/X4/NAMEx4``."""
    hr = [(pair.name, pair.hr) for pair in dataset.pairs if pair.hr]
    lr = [(pair.name, pair.lr) for pair in dataset.pairs if pair.lr]
    sides = {"HR": _patterns(dataset.folder, hr), "LR": _patterns(dataset.folder, lr)}
    absent = {"HR": "none, so there is no ground truth and no PSNR", "LR": "made of HR by MATLAB's bicubic"}
    return "; ".join(f"{side}: {' and '.join(patterns) or absent[side]}" for side, patterns in sides.items())


def _patterns(folder: Path, files: Iterable[tuple[str, Path]]) -> list[str]:
    """Return the forms that the paths of images have, with NAME for an image's name."""
    found = {}
    for name, path in files:
        beside = path.parent.relative_to(folder) if path.parent.is_relative_to(folder) else path.parent
        # HR and LR may have the two forms of accents.
        stem, name = (unicodedata.normalize("NFC", its) for its in (path.stem, name))
        found[str(beside / stem.replace(name, "NAME", 1))] = None
    return list(found)


def _copies(pairs: Iterable[ImagePair]) -> Iterator[str]:
    """Yield a sentence where files hold the same bytes: differences are then taken several times of one image."""
    files = [file for pair in pairs if (file := pair.hr or pair.lr)]
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in files:
        by_size[file.stat().st_size].append(file)
    alike = [file for its in by_size.values() if len(its) > 1 for file in its]
    copies = len(alike) - len({hashlib.sha256(file.read_bytes()).digest() for file in alike})
    if copies:
        yield f"{copies} of {len(files)} are copies of others: intervals and verdicts take them for different images"


def not_used(dataset: Dataset) -> list[str]:
    """Return a sentence for the folders near a set that may hold the half of it that it lacks."""
    lacks = _LACKING.get(dataset.layout)
    first = dataset.pairs[0].hr or dataset.pairs[0].lr
    if lacks is None or first is None:
        return []
    # LR images of another scale pair with nothing here.
    at_scale = [folder for folder in near(first.parent, lacks) if read_name(folder.name).scale in (None, SCALE)]
    folders = [folder for folder in at_scale if any(map(has_images, [folder, *folders_below(folder)]))]
    listed = ", ".join(map(str, folders))
    to_pair = "to measure pairs, name the folder that holds both halves"
    return [f"not used: the {lacks} images in {listed}; {to_pair}"] if folders else []
