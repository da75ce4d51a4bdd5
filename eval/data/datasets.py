"""Opening a set of images by folder and name. Everything is checked before any network runs.

Of a folder alone the first of these that fits is opened: a set in a folder of its own, HR and LR beside each other in
a known layout; one that words in the names of its folders tell; HR in such a layout without LR; images; the only set
that it holds; the challenge's validation set among others; what lies in its only inner folder. Of a folder and a
name: a known layout with HR and LR; what words tell; what lies in the folder of that name; HR alone in a known
layout; images in that folder, or in NAME_LR; and the folder itself, if it has the name. More than one of one kind is
an error.
"""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath

from eval.data import layouts
from eval.data.aliases import ALIASES
from eval.data.fetch import fetchable_sets, fetched_sets
from eval.data.images import ImageError, ImageSize, is_grey
from eval.data.naming import folders_below, lr_beside_hr, read_name, role_of
from eval.data.pairs import SCALE, ImagePair, check_pairs
from eval.errors import RunError, UsageError
from eval.files import is_of_variable, states_of, why_no_folder
from eval.metrics.registry import Metric
from eval.words import counted

HR_FOLDER = "HR folder, LR made by the exact bicubic"
LR_FOLDER = "LR folder, no HR"
PAIRS_IN_FOLDER = layouts.Layout("SelfExSR", hr="{name}", lr="{name}", hr_tail="_HR", lr_tails=("_LR",))
SAMPLE = "sample"
SAMPLE_FILES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


class NoSuchSetError(UsageError):
    """A folder of sets holds none of a name."""


def is_sample(name: str, folder: str | Path) -> bool:
    """Tell scikit-image's photographs, on any machine, from a folder of one's own that is called like them."""
    return name == SAMPLE and str(folder).replace("\\", "/").endswith("skimage/data")


@dataclass(frozen=True)
class Found:
    """A set as its folders and names tell it, before a file is opened; ``faults`` name what pairs with nothing."""

    name: str
    layout: str
    folder: Path
    pairs: list[ImagePair]
    faults: list[str]


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
        """Return that hash of the files as they are now; they are read again if a size or a time of theirs differs.

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
        flag = "--data_dir, from the variable ESR_DATA," if is_of_variable(data_dir) else "--data_dir"
        raise UsageError(f"{flag} {data_dir}: {reason}")
    return _checked(find_dataset(data_dir, name))


def _refuse_own_sample(data_dir: Path) -> None:
    for folder in (data_dir / SAMPLE, Path(os.path.abspath(data_dir))):
        if folder.name == SAMPLE and folder.is_dir():
            raise UsageError(
                f"--dataset {SAMPLE}: means scikit-image's photographs, and {folder} is called so, too. For the "
                f"folder, give --data_dir {folder} alone; for the photographs, neither --data_dir nor ESR_DATA"
            )


def find_dataset(data_dir: Path, name: str | None) -> Found:
    """Find what ``open_dataset`` opens of a folder that exists; a set without a pair has a fault.

    It opens no file, the first pair of ``input`` beside HR apart.

    Raises:
        UsageError: there is no such set, or it is not clear which is meant.
        RunError: a folder of it may not be read.
    """
    try:
        found = _find_only(data_dir) if name is None else _find_named(data_dir, name)
    except OSError as error:
        raise RunError(f"--dataset {name or data_dir}: {error.filename}: cannot be read ({error.strerror})") from error
    empty = not found.pairs and not found.faults
    return replace(found, faults=[f"{found.folder}: no images ({found.layout})"]) if empty else found


def sets_in(data_dir: Path) -> list[str | None]:
    """Return what a folder holds, at any depth, for ``find_dataset``: sets by name, and None for the folder itself."""
    folder = Path(os.path.abspath(data_dir))
    by_words = layouts.sets_by_words(folder)
    own = any(layout.in_own_folder for layout in layouts.matching_layouts(folder.parent, folder.name))
    if "" in by_words:
        return [None, *sorted(filter(None, by_words))]
    if own and not by_words and layouts.is_paired(folder.parent, folder.name):
        return [None]
    names = layouts.list_datasets(folder, deeper=True)
    if layouts.has_images(folder):
        return [None, *names]
    return [*names] if len(names) > 1 else [None]


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


def _find_only(data_dir: Path, called: str | None = None) -> Found:
    """Find the one set that a folder is, or holds, under the folder's name or another one."""
    folder = Path(os.path.abspath(data_dir))
    name = called or folder.name
    own = [layout for layout in layouts.matching_layouts(folder.parent, folder.name) if layout.in_own_folder]
    by_words = layouts.sets_by_words(folder)
    # HR and LR folders of several sets have no images themselves.
    if own and layouts.is_paired(folder.parent, folder.name) and ("" in by_words or not by_words):
        return _find_layout(folder.parent, [(folder.name, layout) for layout in own], name)
    ways = by_words.get("") or (next(iter(by_words.values())) if own and len(by_words) == 1 else [])
    if ways:
        return _find_layout(folder, [(name, way) for way in ways], name)
    if own:
        return _find_layout(folder.parent, [(folder.name, layout) for layout in own], name)
    if layouts.has_images(folder):
        return _plain_folder(name, folder)
    names = layouts.list_datasets(data_dir)
    if len(names) == 1:
        found, its = _find_named(data_dir, names[0]), read_name(names[0])
        # LR, or x4, names no set.
        return replace(found, name=called) if called and its.is_bare else found
    challenge = [name for name in names if name in ALIASES["valid"]]
    if len(challenge) == 1:
        return _find_named(data_dir, challenge[0])
    if not names and (inner := layouts.only_inner(folder)) != folder:
        return _find_only(inner, called)
    names = layouts.list_datasets(folder, deeper=True)
    if len(names) == 1:
        return _find_named(data_dir, names[0])
    if not names:
        raise UsageError(
            f"--data_dir {data_dir}: holds no images and no set in a known layout (docs/data.md lists the layouts)"
        )
    raise UsageError(f"--data_dir {data_dir}: holds several sets; choose by --dataset: {', '.join([*names, SAMPLE])}")


def _find_named(data_dir: Path, name: str) -> Found:
    if not _plain_name(name):
        raise UsageError(f"--dataset '{name}': expected the name of a set in {data_dir}")
    aliases = [alias for alias in ALIASES.get(name, ()) if layouts.matching_layouts(data_dir, alias)]
    found = [(alias, layout) for alias in aliases or [name] for layout in layouts.matching_layouts(data_dir, alias)]
    paired = any(layouts.is_paired(data_dir, alias) for alias, _ in found)
    if not paired and (ways := layouts.sets_called(data_dir, name)):
        return _find_layout(data_dir, [(name, way) for way in ways], name)
    inside = data_dir / name
    if not paired and inside.is_dir() and not layouts.has_images(inside) and any(folders_below(inside, 1)):
        return _find_only(inside, _plain_name(name))
    if found:
        return _find_layout(data_dir, found, name if not aliases else found[0][0])
    # The HR images of a challenge's test set are often not public.
    inputs = [data_dir / f"{alias}_LR" for alias in ALIASES.get(name, ())]
    for folder in (data_dir / name, *inputs):
        if folder.is_dir():
            return _plain_folder(_plain_name(name), folder)
    if os.path.basename(os.path.abspath(data_dir)).casefold() == name.casefold():
        # The folder of the set itself was given, and its name too.
        return _find_only(data_dir)
    known = ", ".join([*layouts.list_datasets(data_dir, deeper=True), SAMPLE])
    looked_for = ", ".join(f"{alias}_HR" for alias in ALIASES.get(name, ()))
    where = f" (looked for the folders {looked_for})" if looked_for else ""
    advice = "docs/data.md says where sets come from and how their folders are called"
    raise NoSuchSetError(f"--dataset {name}: not in {data_dir}{where}; there are: {known}; {advice}")


def _find_layout(data_dir: Path, found: list[tuple[str, layouts.Layout]], name: str) -> Found:
    """Find a set, called ``name`` from now on, under the one name and in the one layout in which it was found."""
    (found_name, layout), *others = found
    if others:
        ways = ", ".join(f"{name} ({layout.name})" for name, layout in found)
        raise UsageError(f"--dataset {name}: lies in {data_dir} in more than one layout: {ways}; keep one")
    return Found(_plain_name(name), layout.name, data_dir, *layouts.pair_files(data_dir, found_name, layout))


def _plain_name(name: str, path: type[PurePath] = Path) -> str:
    """Return a set's name without folders, so that results of it lie under one folder: BSDS500/test, BSDS500_test."""
    its = path(name)
    return "_".join(part for part in its.parts if part not in ("..", its.anchor))


def _plain_folder(name: str, folder: Path) -> Found:
    """Take a folder of images.

    Pairs by ``_HR`` and ``_LR`` in the files' names, or with the LR folder beside it; else HR images, or inputs without
    HR, by the names of the folder and its files, which may not tell which, or tell of both.
    """
    stem = folder.name.removesuffix("_HR")
    if stem != folder.name and layouts.is_paired(folder.parent, stem):
        found = [(stem, layout) for layout in layouts.matching_layouts(folder.parent, stem)]
        return _find_layout(folder.parent, found, name.removesuffix("_HR"))
    images = layouts.image_files(folder)
    if all(any(path.stem.endswith(tail) for path in images) for tail in ("_HR", "_LR")):
        located = layouts.pair_files(folder.parent, folder.name, PAIRS_IN_FOLDER)
        return Found(name, PAIRS_IN_FOLDER.name, folder, *located)
    stems = [path.stem for path in images]
    role = role_of(folder, stems)
    if role == "unclear":
        raise UsageError(
            f"--data_dir {folder}: cannot tell whether these are HR or LR images: the name tells only the scale, "
            "or input beside a folder of HR. Rename the folder, or link to it, so that its name ends in HR or LR; "
            "folders LR and HR beside each other are measured as pairs"
        )
    if role == "LR":
        return Found(name, LR_FOLDER, folder, [ImagePair(path.stem, lr=path, hr=None) for path in images], [])
    if mixed := lr_beside_hr(stems):
        raise UsageError(
            f"--data_dir {folder}: holds HR and LR images in one folder, by the names of {len(mixed)} of them "
            f"({mixed[0]} and its LR image, for one). Move the LR images into a folder LR, the others into HR beside it"
        )
    return Found(name, HR_FOLDER, folder, [ImagePair(path.stem, lr=None, hr=path) for path in images], [])


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
