"""How sets of images lie on disk. Supporting another layout is one row of ``LAYOUTS``."""

import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from eval.data.images import is_image_file
from eval.data.naming import (
    DEEPEST,
    Half,
    folders_below,
    halves,
    hr_beside_input,
    is_lr_of_another_scale,
    set_name,
    told_tails,
)
from eval.data.pairs import ImagePair, check_pairs


@dataclass(frozen=True)
class Layout:
    """How a set lies on disk. ``hr`` and ``lr`` are folders under the data folder, with ``{name}`` for the set's name.

    It stands in the first of them: sets in folders of HR and LR are told by words (``eval.data.naming``). An image's
    name is its HR file's stem less ``hr_tail``; its LR file's stem is that name plus one of ``lr_tails``.
    """

    name: str
    hr: str
    lr: str
    hr_tail: str = ""
    lr_tails: tuple[str, ...] = ("x4", "")

    @property
    def in_own_folder(self) -> bool:
        """Tell whether all of a set lies under a folder of its name."""
        return self.hr.startswith("{name}/")

    def set_of(self, half: Literal["hr", "lr"], folder: str) -> str | None:
        """Return the set whose path of that half begins with a folder of this name, or None."""
        before, found, after = Path(getattr(self, half)).parts[0].partition("{name}")
        name = folder.removeprefix(before).removesuffix(after)
        return name if found and name and folder == f"{before}{name}{after}" else None


LAYOUTS = (
    Layout("challenge", hr="{name}_HR", lr="{name}_LR"),
    Layout("DIV2K", hr="{name}_HR", lr="{name}_LR_bicubic/X4"),
    Layout("SelfExSR", hr="{name}/image_SRF_4", lr="{name}/image_SRF_4", hr_tail="_HR", lr_tails=("_LR",)),
    Layout("benchmark", hr="{name}/HR", lr="{name}/LR_bicubic/X4"),
    Layout("HR and LR", hr="{name}/HR", lr="{name}/LR"),
)


def matching_layouts(data_dir: Path, name: str) -> list[Layout]:
    """Return the layouts in which a set has its HR and LR folders; if there is none, one in which it has the HR."""
    with_hr = [layout for layout in LAYOUTS if os.path.isdir(data_dir / layout.hr.format(name=name))]
    with_both = [layout for layout in with_hr if os.path.isdir(data_dir / layout.lr.format(name=name))]
    alike = defaultdict(list)
    for layout in with_both:
        alike[folders_of(layout, name)].append(layout)
    return [layout for rows in alike.values() for layout in _fitting_files(data_dir, name, rows)] or with_hr[:1]


def _fitting_files(data_dir: Path, name: str, rows: list[Layout]) -> list[Layout]:
    """Return, of layouts with the same folders, the one that pairs most files; several that pair as many others."""
    if len(rows) == 1:
        return rows
    hr_folder, lr_folder = (data_dir / folder for folder in folders_of(rows[0], name))
    paired = {row: _pair_by_tails(hr_folder, lr_folder, row)[0] for row in rows}
    best = [row for row in rows if len(paired[row]) == max(map(len, paired.values()))]
    return best if any(paired[row] != paired[best[0]] for row in best) else best[:1]


def sets_by_words(root: Path, depth: int = DEEPEST) -> dict[str, list[Layout]]:
    """Find sets whose halves are told by words in the names of folders: ``GTmod12`` and ``LRbicx4``, ``HR`` and ``LQ``.

    Returns:
        By the name of a set, empty for one that ``root`` itself is, the ways in which its halves go together.
    """
    of_images = list(filter(_has_readable_images, folders_below(root, depth)))
    by_words: dict[tuple[str, ...], list[Half]] = defaultdict(list)
    for half in halves(root, of_images):
        by_words[tuple(map(str.casefold, half.words))].append(half)
    found = {}
    for same_words in by_words.values():
        hr, lr = ([half for half in same_words if half.role == role] for role in ("HR", "LR"))
        # LR was made of what was cut. Sizes would not tell: whole images may fit LR as well.
        hr = [half for half in hr if half.cut] or hr
        if hr and lr:
            folders = [(one.folder, other.folder) for one in hr for other in _likeliest(lr)]
            found["_".join(hr[0].words)] = [_layout_of(root, *both) for both in folders]
    return _inputs_beside_hr(root, of_images) | found


def _inputs_beside_hr(root: Path, folders: list[Path]) -> dict[str, list[Layout]]:
    """Find sets in ``input`` beside HR, GT or target: those whose first pair is x4, not degraded at one size."""
    found = defaultdict(list)
    for lr in folders:
        for hr in filter(_has_readable_images, hr_beside_input(lr)):
            way = _layout_of(root, hr, lr)
            pairs, _ = pair_files(root, "", way)
            if pairs and not check_pairs(pairs[:1])[1]:
                found[set_name(str(lr.parent.relative_to(root)))].append(way)
    return found


def _has_readable_images(folder: Path) -> bool:
    try:
        return has_images(folder)
    # Of somebody else's, below the folder that is meant.
    except PermissionError:
        return False


def _likeliest(lr: list[Half]) -> list[Half]:
    """Return, of several LR folders, those that name the scale, and of these those of bicubic, if there are any."""
    lr = [half for half in lr if half.scale] or lr
    return [half for half in lr if half.bicubic] or lr


def _layout_of(root: Path, *folders: Path) -> Layout:
    hr, lr = (str(folder.relative_to(root)) for folder in folders)
    # The layouts' folders are templates.
    escaped_hr, escaped_lr = (text.replace("{", "{{").replace("}", "}}") for text in (hr, lr))
    return Layout(f"{hr} with {lr}", escaped_hr, escaped_lr)


def sets_called(root: Path, name: str) -> list[Layout]:
    """Return the ways in which the halves of one set go together that is told by words; case does not matter."""
    wanted = "_".join(Path(name).parts).casefold()
    return [layout for its, ways in sets_by_words(root).items() if its.casefold() == wanted for layout in ways]


def is_paired(data_dir: Path, name: str) -> bool:
    """Tell whether a set has its HR and its LR folder in some layout, and neither holds folders alone, of sets."""
    folders = [[data_dir / half for half in folders_of(layout, name)] for layout in matching_layouts(data_dir, name)]

    def is_of_files(half: Path) -> bool:
        return _has_readable_images(half) or not any(folders_below(half, 1))

    return any(os.path.isdir(lr) and is_of_files(hr) and is_of_files(lr) for hr, lr in folders)


def has_images(folder: Path) -> bool:
    """Tell whether a folder exists and at least one image lies directly in it."""
    return os.path.isdir(folder) and any(map(is_image_file, folder.iterdir()))


def image_files(folder: Path) -> list[Path]:
    """Return the images that lie directly in a folder, sorted by name."""
    return sorted(filter(is_image_file, folder.iterdir()))


def list_datasets(data_dir: Path, deeper: bool = False, depth: int = DEEPEST) -> list[str]:
    """Return the names of the sets that lie directly in a folder, the challenge's under their full names.

    If ``deeper``, those in folders that are no set themselves, too, called by the path: ``BSDS500/test``.
    """
    by_words = sets_by_words(data_dir, depth)
    told = set(map(str.casefold, by_words))
    halved = {folder for ways in by_words.values() for way in ways for folder in folders_of(way, "")}
    tops, names = {half.parts[0] for half in halved}, set()

    def is_passed_over(name: str) -> bool:
        inner = only_inner(data_dir / name).relative_to(data_dir)
        return set_name(str(inner)).casefold() in told or is_lr_of_another_scale(inner)

    for child in folders_below(data_dir, 1):
        called = {name for layout in LAYOUTS if (name := layout.set_of("hr", child.name))}
        own = any(layout.in_own_folder for layout in matching_layouts(data_dir, child.name))
        if paired := {name for name in called if is_paired(data_dir, name)}:
            names |= paired
        elif is_passed_over(child.name) or _is_partner(child):
            continue
        elif child.name not in tops and (own or _has_readable_images(only_inner(child))):
            names.add(child.name)
        elif deeper and depth > 1:
            inside = {f"{child.name}/{name}" for name in list_datasets(child, deeper, depth - 1)}
            in_pairs = {above.as_posix() for half in halved for above in (half, *half.parents)}
            names |= {name for name in inside - in_pairs if not is_passed_over(name)}
    known = {folders_of(layout, name) for name in names for layout in LAYOUTS}
    names |= {
        name for name, ways in by_words.items() if name and not known.intersection(folders_of(way, "") for way in ways)
    }
    return sorted(names)


def folders_of(layout: Layout, name: str) -> tuple[Path, Path]:
    """Return the HR and the LR folder of a set, under the data folder."""
    return Path(layout.hr.format(name=name)), Path(layout.lr.format(name=name))


def only_inner(folder: Path) -> Path:
    """Return the folder, or, while it holds no image and a single folder, that one."""
    while not _has_readable_images(folder):
        inner = list(folders_below(folder, 1))
        if len(inner) != 1:
            break
        (folder,) = inner
    return folder


def _is_partner(folder: Path) -> bool:
    """Tell whether a folder is the LR half of a set whose HR half lies beside it; by any degradation or scale."""
    stem, separator, _ = folder.name.rpartition("_LR")
    if separator and os.path.isdir(folder.with_name(f"{stem}_HR")):
        return True
    beside = [(layout, layout.set_of("lr", folder.name)) for layout in LAYOUTS if not layout.in_own_folder]
    return any(name and os.path.isdir(folder.parent / layout.hr.format(name=name)) for layout, name in beside)


def pair_files(data_dir: Path, name: str, layout: Layout) -> tuple[list[ImagePair], list[str]]:
    """Pair the files of a set by name, in whichever normal form, and say what has no partner, or more than one."""
    hr_folder, lr_folder = (data_dir / folder for folder in folders_of(layout, name))
    if not lr_folder.is_dir():
        hint = f"to have LR made by the exact bicubic, name the HR folder itself: {hr_folder}"
        return [], [f"{lr_folder}: no such folder; the LR images of the layout '{layout.name}' belong there; {hint}"]
    return _pair_by_tails(hr_folder, lr_folder, _with_told_tails(layout, hr_folder, lr_folder))


def _pair_by_tails(hr_folder: Path, lr_folder: Path, layout: Layout) -> tuple[list[ImagePair], list[str]]:
    hr_by_name = _by_stem(hr_folder, layout.hr_tail)
    lr_by_stem = _by_stem(lr_folder)
    if hr_folder == lr_folder:
        # Results of other methods may lie beside the pairs.
        lr_by_stem = {stem: paths for stem, paths in lr_by_stem.items() if stem.endswith(layout.lr_tails)}
    pairs, faults = [], [] if hr_by_name else [f"{hr_folder}: no HR images (layout '{layout.name}')"]
    for image_name, (hr, *others) in hr_by_name.items():
        stems = list(dict.fromkeys(image_name + tail for tail in layout.lr_tails))
        partners = [path for stem in stems for path in lr_by_stem.pop(stem, [])]
        if others:
            faults.append(f"{' and '.join(map(str, (hr, *others)))}: have the same name")
        elif len(partners) == 1:
            pairs.append(ImagePair(hr.stem.removesuffix(layout.hr_tail), partners[0], hr))
        else:
            found = ", ".join(map(str, partners)) or "none"
            faults.append(f"{hr}: expected one LR partner, {' or '.join(stems)} in {lr_folder}; found {found}")
    faults += [f"{path}: has no HR partner in {hr_folder}" for paths in lr_by_stem.values() for path in paths]
    return pairs, faults


def _with_told_tails(layout: Layout, hr_folder: Path, lr_folder: Path) -> Layout:
    """Return a layout with the ends that the files' names show where those of the layout pair none of them."""
    hr, lr = (list(_by_stem(folder)) for folder in (hr_folder, lr_folder))
    names = [stem.removesuffix(layout.hr_tail) for stem in hr]
    if hr_folder == lr_folder or any(name + tail in lr for name in names for tail in layout.lr_tails):
        return layout
    told = told_tails(hr, lr)
    return replace(layout, hr_tail=told[0], lr_tails=(told[1],)) if told else layout


def _by_stem(folder: Path, tail: str = "") -> dict[str, list[Path]]:
    """Return the images of a folder whose stems end in a tail, under their stems without it, in the form NFC."""
    by_stem = defaultdict(list)
    for path in image_files(folder):
        # An accent is one character in names that Linux made, and two in those that a Mac may have made.
        stem = unicodedata.normalize("NFC", path.stem)
        if stem.endswith(tail):
            by_stem[stem.removesuffix(tail)].append(path)
    return by_stem
