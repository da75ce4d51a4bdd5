"""Opening a set of images by folder and name. Everything is checked before any network runs."""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from eval.data import layouts
from eval.data.fetch import fetchable_sets, fetched_sets
from eval.data.finding import HR_FOLDER, SAMPLE, FolderError, Found, NoSuchSetError, find_dataset
from eval.data.images import ImageError, ImageSize, is_grey
from eval.data.pairs import SCALE, ImagePair, check_pairs
from eval.errors import RunError, UsageError
from eval.files import states_of, why_no_folder
from eval.metrics.registry import Metric
from eval.words import counted

SAMPLE_FILES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def is_sample(name: str, folder: str | Path) -> bool:
    """Tell scikit-image's photographs, on any machine, from a folder of one's own that is called like them."""
    return name == SAMPLE and str(folder).replace("\\", "/").endswith("skimage/data")


@dataclass(frozen=True)
class Dataset:
    """A checked set of images. ``lr_sizes`` has one entry an image."""

    name: str
    layout: str
    folder: Path
    pairs: tuple[ImagePair, ...]
    lr_sizes: tuple[ImageSize, ...]

    @property
    def has_hr(self) -> bool:
        """Tell whether fidelity can be measured."""
        return self.pairs[0].hr is not None

    @property
    def left_out(self) -> list[Path]:
        """The files that lie beside those of the set and are not used, hidden ones apart."""
        used = {path for pair in self.pairs for path in pair.files}
        if is_sample(self.name, self.folder):
            return []
        beside = {path for folder in {path.parent for path in used} for path in folder.iterdir()}
        return sorted(path for path in beside - used if os.path.isfile(path) and not path.name.startswith("."))

    @cached_property
    def num_grey(self) -> int:
        """How many images are stored as grey; they are measured as RGB, with three equal channels."""
        return sum(any(map(_is_grey, pair.files)) for pair in self.pairs)

    @property
    def sha256(self) -> str:
        """The hash of all names and files, as they were when it was first asked for."""
        return self._at_first[1]

    def sha256_now(self) -> str:
        """Return that hash of the files as they are now; they are read again where ``states_of`` tells others.

        Raises:
            OSError: one of them cannot be read any more.
        """
        states, sha256 = self._at_first
        return sha256 if self._states() == states else self._hashed()

    @cached_property
    def _at_first(self) -> tuple[list, str]:
        # In this order, so that what is written meanwhile is noticed.
        return self._states(), self._hashed()

    def _states(self) -> list:
        return states_of(path for pair in self.pairs for path in pair.files)

    def _hashed(self) -> str:
        digest = hashlib.sha256()
        for pair in self.pairs:
            digest.update(f"{pair.name}\n".encode())
            for path in (pair.lr, pair.hr):
                digest.update(b"-" if path is None else hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def _is_grey(path: Path) -> bool:
    try:
        return is_grey(path)
    # Whoever reads the file says what is wrong with it.
    except ImageError:
        return False


def open_dataset(data_dir: Path | None, name: str | None) -> Dataset:
    """Find a set by folder and name, and check every file of it; "valid" and "test" stand for the challenge's.

    The folder holds sets, or is one set itself; it is None for ``sample``, and for sets that were fetched. The name is
    None if the folder says it.

    Raises:
        NoSuchSetError: there is no such set.
        UsageError: there is no such folder, or the name is needed to tell which set, or means a folder and ``sample``,
            too, or more is needed to tell what its images are.
        RunError: the set is empty, or files are missing, damaged or of the wrong size; all of them are listed.
    """
    if name == SAMPLE and data_dir is not None:
        _refuse_own_sample(data_dir)
    if name == SAMPLE or (data_dir is None and name is None):
        return _checked(_sample())
    if data_dir is None and name in fetchable_sets():
        data_dir = fetched_sets()
        if not (data_dir / name).is_dir() and not layouts.matching_layouts(data_dir, name):
            raise NoSuchSetError(
                f"--dataset {name}: give the folder that holds it by --data_dir, or set ESR_DATA, or run: "
                f"python -m eval fetch data {name}"
            )
    if data_dir is None:
        raise NoSuchSetError(f"--dataset {name}: give the folder that holds it by --data_dir, or set ESR_DATA")
    if reason := why_no_folder(data_dir):
        raise FolderError(data_dir, reason)
    return _checked(find_dataset(data_dir, name))


def _refuse_own_sample(data_dir: Path) -> None:
    for folder in (data_dir / SAMPLE, Path(os.path.abspath(data_dir))):
        if folder.name == SAMPLE and folder.is_dir():
            raise UsageError(
                f"--dataset {SAMPLE}: means scikit-image's photographs, and {folder} is called so, too. For the "
                f"folder, give --data_dir {folder} alone; for the photographs, neither --data_dir nor ESR_DATA"
            )


def check_metric_sizes(dataset: Dataset, metrics: Sequence[Metric]) -> None:
    """Refuse a set whose images are too small for a metric.

    Raises:
        RunError: some are; the message names them.
    """
    for metric in metrics if dataset.has_hr else ():
        sides = [min(size.height, size.width) * SCALE for size in dataset.lr_sizes]
        small = [pair.name for pair, side in zip(dataset.pairs, sides, strict=True) if side < metric.least_side]
        if small and metric.needs == "hr":
            raise RunError(
                f"{metric.title}: HR images need {metric.least_side} pixels a side; smaller are: {', '.join(small)}. "
                f"Leave {metric.title} out, or these images"
            )


def _sample() -> Found:
    """Return the photographs that the scikit-image package carries, without importing it."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise RunError("--dataset sample: the package scikit-image is not installed; pip install scikit-image")
    folder = Path(package.origin).parent / "data"
    pairs = [ImagePair(Path(file).stem, lr=None, hr=folder / file) for file in SAMPLE_FILES]
    return Found(SAMPLE, HR_FOLDER, folder, pairs, [])


def _checked(found: Found) -> Dataset:
    """Check all files and raise one error that lists every offender."""
    lr_sizes, of_files = check_pairs(found.pairs)
    if faults := [*found.faults, *of_files]:
        listing = "\n".join(f"  {fault}" for fault in faults)
        raise RunError(f"--dataset {found.name}: cannot be used; {counted(len(faults), 'fault')} found\n{listing}")
    return Dataset(found.name, found.layout, found.folder, tuple(found.pairs), tuple(lr_sizes))
