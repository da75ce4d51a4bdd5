"""Finding a set of images by folder and name: by names alone, before a file is opened.

Of a folder alone the first of these that fits is opened: a set in a folder of its own, HR and LR beside each other in
a known layout; one that words in the names of its folders tell; HR in such a layout without LR; images; the only set
that it holds; the challenge's validation set among others; what lies in its only inner folder. Of a folder and a
name: a known layout with HR and LR; what words tell; what lies in the folder of that name; HR alone in a known
layout; images in that folder, or in NAME_LR; and the folder itself, if it has the name. More than one of one kind is
an error.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from eval.data import layouts
from eval.data.aliases import ALIASES
from eval.data.naming import folders_below, lr_beside_hr, read_name, role_of
from eval.data.pairs import ImagePair
from eval.errors import RunError, UsageError
from eval.files import is_of_variable

HR_FOLDER = "HR folder, LR made by the exact bicubic"
LR_FOLDER = "LR folder, no HR"
PAIRS_IN_FOLDER = layouts.Layout("SelfExSR", hr="{name}", lr="{name}", hr_tail="_HR", lr_tails=("_LR",))
SAMPLE = "sample"


class NoSuchSetError(UsageError):
    """A folder of sets holds none of a name."""


class FolderError(UsageError):
    """A folder is no set, or more is needed to tell which; ``sets`` are those that it holds."""

    def __init__(self, folder: Path, fault: str, sets: Sequence[str] = ()) -> None:
        self.folder, self.fault, self.sets = folder, fault, sets
        flag = "--data_dir, from the variable ESR_DATA," if is_of_variable(folder) else "--data_dir"
        super().__init__(self.said(f"{flag} ", "choose by --dataset") + f", {SAMPLE}" * bool(sets))

    def said(self, flag: str, choose: str) -> str:
        """Return the fault for a command that takes the folder by another flag, and a set in another way."""
        return f"{flag}{self.folder}: {self.fault}" + (f"; {choose}: {', '.join(self.sets)}" if self.sets else "")


@dataclass(frozen=True)
class Found:
    """A set as its folders and names tell it, before a file is opened; ``faults`` name what pairs with nothing."""

    name: str
    layout: str
    folder: Path
    pairs: list[ImagePair]
    faults: list[str]


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
        raise RunError(f"{error.filename}: cannot be read ({error.strerror})") from error
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


def _find_only(data_dir: Path, called: str | None = None) -> Found:
    """Find the one set that a folder is, or holds, under the folder's name or another one."""
    folder = Path(os.path.abspath(data_dir))
    name = called or folder.name
    own = [layout for layout in layouts.matching_layouts(folder.parent, folder.name) if layout.in_own_folder]
    by_words = layouts.sets_by_words(folder)
    paired = bool(own) and layouts.is_paired(folder.parent, folder.name)
    if paired and ("" in by_words or not by_words):
        return _find_layout(folder.parent, [(folder.name, layout) for layout in own], name, data_dir)
    ways = by_words.get("") or (next(iter(by_words.values())) if own and len(by_words) == 1 else [])
    if ways:
        return _find_layout(folder, [(name, way) for way in ways], name)
    # HR and LR folders of several sets have no images themselves.
    if paired or any(layouts.has_images(folder.parent / layouts.folders_of(its, folder.name)[0]) for its in own):
        return _find_layout(folder.parent, [(folder.name, layout) for layout in own], name, data_dir)
    if layouts.has_images(folder):
        return _plain_folder(name, folder)
    names = layouts.list_datasets(data_dir)
    if len(names) == 1:
        found, its = _find_named(data_dir, names[0]), read_name(names[0])
        # LR, or x4, names no set.
        return replace(found, name=name or found.name) if its.is_bare else found
    challenge = [name for name in names if name in ALIASES["valid"]]
    if len(challenge) == 1:
        return _find_named(data_dir, challenge[0])
    if not names and (inner := layouts.only_inner(folder)) != folder:
        return _find_only(inner, called)
    names = layouts.list_datasets(folder, deeper=True)
    if len(names) == 1:
        return _find_named(data_dir, names[0])
    if not names:
        raise FolderError(
            data_dir, "holds no images and no set at x4 in a known layout (docs/data.md lists the layouts)"
        )
    raise FolderError(data_dir, "holds several sets", names)


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


def _find_layout(
    data_dir: Path, found: list[tuple[str, layouts.Layout]], name: str, asked: Path | None = None
) -> Found:
    """Find a set, called ``name`` from now on, under the one name and in the one layout in which it was found.

    ``asked`` is the folder that was given, where that is another one.
    """
    (found_name, layout), *others = found
    if others:
        ways = ", ".join(f"{name} ({layout.name})" for name, layout in found)
        advice = "keep one"
        if len({layouts.folders_of(way, its) for its, way in found}) == 1:
            first = [(layouts.pair_files(data_dir, its, way)[0][0], way) for its, way in found]
            pairs = ", ".join(f"{pair.hr} with {pair.lr} ({way.name})" for pair, way in first)
            advice = f"each pairs other files of the same folders: {pairs}; rename files so that one of them pairs all"
        raise FolderError(asked or data_dir, f"holds {name} in more than one layout: {ways}; {advice}")
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
        raise FolderError(
            folder,
            "cannot tell whether these are HR or LR images: the name tells only the scale, or input beside a folder of "
            "HR. Rename the folder, or link to it, so that its name ends in HR or LR; folders LR and HR beside each "
            "other are measured as pairs",
        )
    if role == "LR":
        return Found(name, LR_FOLDER, folder, [ImagePair(path.stem, lr=path, hr=None) for path in images], [])
    if mixed := lr_beside_hr(stems):
        raise FolderError(
            folder,
            f"holds HR and LR images in one folder, by the names of {len(mixed)} of them ({min(mixed)}, for one). Move "
            "the LR images into a folder LR, the others into HR beside it",
        )
    return Found(name, HR_FOLDER, folder, [ImagePair(path.stem, lr=None, hr=path) for path in images], [])
