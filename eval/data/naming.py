"""What the names of folders and files say of the images in them: HR or LR, and at which scale."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Role = Literal["HR", "LR"]
_SCALE = 4
# Of the path under a folder that is searched for the halves of sets.
DEEPEST = 4
# How names of folders begin that hold no images: hidden ones, and what a Mac adds to a zip.
_PASSED_OVER = (".", "__MACOSX")
# A word begins behind what is no letter, or with a capital behind a small letter: Set5LR, valid_lr; not DSLR.
_START = r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
_LOW = r"(?i:low)(?:$|(?=\d)|(?<=w)(?=[A-Z])|(?=(?i:res|q|x\d)))"
_ROLE_WORD = re.compile(_START + rf"(?:((?i:hr|gt|high|orig|groundtruth))|(?i:lr|lq)|{_LOW})")
_SCALE_WORD = re.compile(r"(?i)x([2-9]|1[0-9])|([2-9])x")
_CUT = re.compile(r"(?i)mod(?:crop|\d)")
_SCALE_AT_END = re.compile(r"(?i)(?:x|(?<=lr)|(?<=hr))([2-9])$")
# How LR was made, or how HR was cut: no part of a set's name.
_MANNERS = frozenset(
    "bi bic bicubic bilinear blur difficult down downsampled image images img matlab mild mod mod4 mod12 modcrop noise "
    "quality res resolution unknown wild".split()
)
# The end of an LR file's name, as in ax4, a_LR, a_LRBI_x4, a_bicLRx4.
_LR_TAIL = re.compile(r"(?:[_\-. ](?:[a-z]*LR|lr|LQ|lq)[A-Za-z]*\d*(?:[_\-]?[xX]\d)?|[xX][2348])$")
_HR_TAIL = re.compile(r"(?i)[_\-. ](?:hr|gt)(?:[_\-]?x\d)?$")


@dataclass(frozen=True)
class Name:
    """What a folder's name says.

    Attributes:
        role: None where it says nothing; LR where it says both.
        scale: None where it names none.
        bicubic: it says that the images were made by bicubic.
        cut: it says that the images were cut so that a scale fits: GTmod12, modcrop.
        rest: the words that are left, which name the set.
        ends_in_role: none of them stands behind the role: ``valid_LR_x4``, not ``LR_project``.
    """

    role: Role | None
    scale: int | None
    bicubic: bool
    cut: bool
    rest: tuple[str, ...]
    ends_in_role: bool

    @property
    def is_bare(self) -> bool:
        """Tell whether it names no set: LR, LRBI, x4, LR_bicubic, images."""
        return not self.rest


@cache
def read_name(name: str) -> Name:
    """Take the name of one folder apart."""
    roles: set[Role] = set()
    scale, bicubic, rest, ends_in_role = None, False, [], False
    for word in filter(None, re.split(r"[\W_]+", name)):
        found = _ROLE_WORD.search(word)
        glued = word[found.start() :] if found else word
        at_scale = _SCALE_AT_END.search(glued) if found else _SCALE_WORD.fullmatch(word)
        scale = next((int(text) for text in at_scale.groups() if text), scale) if at_scale else scale
        bicubic |= bool(re.search("(?i)bic|bi(x?\\d)?$", glued)) if found else word.lower() in ("bicubic", "bic", "bi")
        if found:
            roles.add("HR" if found.group(1) else "LR")
            rest += [word[: found.start()]] if found.start() else []
            ends_in_role = True
        elif not at_scale and word.lower() not in _MANNERS:
            rest.append(word)
            ends_in_role = False
    role: Role | None = None if not roles else "LR" if "LR" in roles else "HR"
    return Name(role, scale, bicubic, bool(_CUT.search(name)), tuple(rest), ends_in_role)


@dataclass(frozen=True)
class Half:
    """A folder with images that are the HR or the LR half of a set at x4, by the names on the way to it."""

    folder: Path
    role: Role
    scale: int | None
    bicubic: bool
    cut: bool
    words: tuple[str, ...]


def halves(root: Path, folders: Iterable[Path]) -> Iterator[Half]:
    """Yield the folders under ``root`` that say by name that they are half of a set; those of other scales are none."""
    for folder in folders:
        names = [read_name(part) for part in folder.relative_to(root).parts]
        scales = [name.scale for name in names if name.scale]
        role, bicubic, cut = _nearest_role(names), any(its.bicubic for its in names), any(its.cut for its in names)
        if role and set(scales) <= {_SCALE}:
            yield Half(folder, role, scales[-1] if scales else None, bicubic, cut, _words(names))


def _words(names: Iterable[Name]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for name in names for word in name.rest))


def set_name(path: str) -> str:
    """Return the name of the set that words in a path under a folder of sets tell; empty for the folder itself."""
    return "_".join(_words(map(read_name, Path(path).parts)))


def _nearest_role(names: Sequence[Name]) -> Role | None:
    """Return the role that the last of the names that have one tells; a folder called by a scale alone is LR."""
    for name in reversed(names):
        if name.role:
            return name.role
    return "LR" if any(name.is_bare and name.scale for name in names) else None


def is_lr_of_another_scale(path: Path) -> bool:
    """Tell whether a path under a folder of sets leads to LR images that are not for x4."""
    names = [read_name(part) for part in path.parts]
    return _nearest_role(names) == "LR" and any(name.scale not in (None, _SCALE) for name in names)


def folders_below(root: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Yield the folders under ``root`` that may hold images, in order; links are followed, as deep as ``depth``."""
    try:
        with os.scandir(root) as found:
            names = sorted(
                entry.name for entry in found if not entry.name.startswith(_PASSED_OVER) and _is_folder(entry)
            )
    except OSError:
        return
    for name in names:
        yield root / name
        if depth > 1:
            yield from folders_below(root / name, depth - 1)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder, or a link to one: not one that loops, or leads where one may not look."""
    if not entry.is_symlink():
        return entry.is_dir()
    # A link to a folder that holds it shows what is listed already, once more.
    inside = Path(os.path.realpath(os.path.dirname(entry.path)))
    return os.path.isdir(entry.path) and not inside.is_relative_to(os.path.realpath(entry.path))


def hr_beside_input(folder: Path) -> list[Path]:
    """Return the folders called HR, GT or target beside one called ``input``; none for a folder of another name."""
    if folder.name.lower() not in ("input", "inputs"):
        return []
    beside = [(other, read_name(other.name)) for other in folders_below(folder.parent, 1)]
    targets = ("target", "targets")
    return [other for other, its in beside if (its.is_bare and its.role == "HR") or other.name.lower() in targets]


def role_of(folder: Path, stems: Sequence[str]) -> Role | Literal["unclear"]:
    """Return what the images of a folder are, by its name, by those above it, and by the ends of the files' names.

    A name above counts where it ends in a role or the one below it names no set. A scale alone
    (``X4``) is unclear unless the files' names or an HR folder beside it tell; ``input`` beside HR is unclear, as it
    may be LR or degraded at the size of HR; what says nothing at all is HR.
    """
    path = Path(os.path.abspath(folder))
    role, has_scale = _role_on_the_way(path)
    if role:
        return role
    if stems and all(map(_HR_TAIL.search, stems)):
        return "HR"
    if stems and all(map(_LR_TAIL.search, stems)):
        return "LR"
    if not has_scale:
        return "HR"
    return "LR" if near(path, "HR") or near(path.parent, "HR") else "unclear"


def _role_on_the_way(path: Path) -> tuple[Role | Literal["unclear"] | None, bool]:
    """Return the role that the names of a path tell, and whether one of those that count is a scale alone."""
    has_scale, bare_below = False, True
    for at in (path, *path.parents):
        name = read_name(at.name)
        if name.role and (bare_below or name.ends_in_role):
            return name.role, has_scale
        if hr_beside_input(at):
            return "unclear", has_scale
        if not (bare_below or name.is_bare):
            break
        has_scale |= name.is_bare and name.scale is not None
        bare_below = name.is_bare
    return None, has_scale


def near(folder: Path, role: Role) -> list[Path]:
    """Return the folders in and beside a folder that have a role by their own names."""
    path = Path(os.path.abspath(folder))
    around = [*folders_below(path, 1), *folders_below(path.parent, 1)]
    return [other for other in around if other != path and read_name(other.name).role == role]


def lr_beside_hr(stems: Iterable[str]) -> dict[str, str]:
    """Return the stems in a folder that have the tail of an LR file, each with the name there that it belongs to.

    These are ``ax4`` and ``a`` where both are, or ``ax4`` and ``a_HR``.
    """
    stems = set(stems)
    tailed = {stem: stem[: found.start()] for stem in stems if (found := _LR_TAIL.search(stem))}
    names = {_HR_TAIL.sub("", stem) for stem in stems}
    return {stem: name for stem, name in sorted(tailed.items()) if name in names}


def told_tails(hr_stems: Sequence[str], lr_stems: Sequence[str]) -> tuple[str, str] | None:
    """Return the ends of HR and LR files' names that pair most of them, told from the names; None if none do.

    An end is common to all names of its side; that of HR begins with a separator: ``_HR_x4`` and ``_LRBI_x4``.
    """
    hr_tails = [tail for tail in _shared_ends(hr_stems) if not tail or tail[0] in "_-. "]
    lr_tails = _shared_ends(lr_stems)

    def paired(tails: tuple[str, str]) -> int:
        sides = zip((hr_stems, lr_stems), tails, strict=True)
        hr, lr = ({stem[: len(stem) - len(tail)] for stem in stems} for stems, tail in sides)
        return len((hr & lr) - {""})

    best = max(((hr, lr) for hr in hr_tails for lr in lr_tails), key=paired, default=None)
    return best if best and 2 * paired(best) > len(hr_stems) else None


def _shared_ends(stems: Sequence[str]) -> list[str]:
    """Return all ends that names share, the shortest, which is empty, first."""
    shortest = min(stems, key=len, default="")
    ends = (shortest[at:] for at in reversed(range(len(shortest) + 1)))
    return [end for end in ends if all(stem.endswith(end) for stem in stems)]
