"""What the folders of a training command hold: which images are used, which are not, and why.

Names and heads of files are read, no pixels; so a plan is known to be one that can be carried out before it begins.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from eval.data.images import ImageError, ImageSize, is_image_file, read_size
from eval.data.not_hr import MOST_NAMED, NAMED_LR, left_out_in_words, no_hr_by_name, no_hr_by_size
from eval.errors import RunError
from eval.files import why_no_folder
from eval.words import counted, first_of
from team_bsr.recipe import Step
from team_bsr.sources import BAD_ADVICE, Sources, lr_partners, pair_fault

TWICE = "found twice"


@dataclass(frozen=True)
class Survey:
    """The images of ``sources``.

    Attributes:
        sources: the command's folders.
        images: HR files that are used, each with its size.
        partners: their LR files; empty where LR is made.
        left_out: files that are no HR images, each with the reason.
        faults: sentences on HR files that cannot be used.
    """

    sources: Sources
    images: dict[Path, ImageSize]
    partners: dict[Path, Path] = field(default_factory=dict)
    left_out: tuple[tuple[Path, str], ...] = ()
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say in one line what was found, what is used, and what is not and why."""
        found = len(self.images) + len(self.left_out) + len(self.faults)
        faults = [f"{len(self.faults)} that cannot be used"] if self.faults else []
        left_out = left_out_in_words(self.left_out, faults)
        return f"{len(self.images)} of {found} in {', '.join(map(str, self.sources.hr))}{left_out}"


def survey(sources: Sources) -> Survey:
    """Look through the folders.

    Raises:
        FileNotFoundError: a folder holds no HR image, or one of them has no LR partner.
        UsageError: an HR image has several LR partners.
        RunError: files cannot be used, and ``skip_bad`` is not set; the message names them.
    """
    files, left_out = _candidates(sources.hr)
    read = _sizes(files)
    images = {path: size for path, size in read.items() if isinstance(size, ImageSize)}
    faults = [str(fault) for fault in read.values() if isinstance(fault, ImageError)]
    copies = no_hr_by_size(images)
    left_out += copies.items()
    images = {path: size for path, size in images.items() if path not in copies}
    partners = lr_partners(images, sources)
    unfit = _unfit(images, partners)
    faults += unfit.values()
    if faults and not sources.skip_bad:
        raise RunError(f"{first_of(faults, MOST_NAMED, '; ')}; {BAD_ADVICE}")
    images = {path: size for path, size in images.items() if path not in unfit}
    if not images:
        raise RunError(f"none of {counted(len(files), 'image')} can be used: {first_of(faults, MOST_NAMED, '; ')}")
    kept = {path: partner for path, partner in partners.items() if path in images}
    paired = {partner.resolve() for partner in kept.values()}
    unused = tuple((path, reason) for path, reason in left_out if path.resolve() not in paired)
    return Survey(sources, images, kept, unused, tuple(faults))


def steps_left_out(steps: Sequence[Step], images: Survey) -> Iterator[str]:
    """Yield a line for each step of which images are smaller than its patch.

    Raises:
        RunError: all are.
    """
    for step in steps:
        small = [str(path) for path, size in images.images.items() if min(size.height, size.width) < step.hr_patch]
        if len(small) == len(images.images):
            raise RunError(
                f"step {step.number}: expected images of at least {step.hr_patch} pixels a side, the size of its "
                f"patches; all {len(small)} are smaller: {first_of(small, MOST_NAMED)}"
            )
        if small:
            yield (
                f"step {step.number}   leaves out {len(small)} of {len(images.images)} images, which are smaller than "
                f"its patches of {step.hr_patch} pixels: {first_of(small, MOST_NAMED)}"
            )


def _candidates(folders: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return the files of all folders that may be HR images by their names, and those that are left out."""
    left_out: list[tuple[Path, str]] = []
    files: dict[Path, Path] = {}
    for folder in folders:
        if reason := why_no_folder(folder):
            raise FileNotFoundError(f"--data {folder}: expected a folder with HR images, found {reason}")
        inside = sorted(path for path in folder.rglob("*") if is_image_file(path))
        no_hr = no_hr_by_name(inside)
        left_out += no_hr.items()
        candidates = [path for path in inside if path not in no_hr]
        if not candidates:
            raise FileNotFoundError(f"--data {folder}: expected a folder with HR images, found {_instead(no_hr)}")
        for path in candidates:
            if files.setdefault(path.resolve(), path) is not path:
                left_out.append((path, TWICE))
    return list(files.values()), left_out


def _instead(no_hr: Mapping[Path, str]) -> str:
    """Return what was found in a folder whose images, if it has any, are no HR images, and what to do."""
    if not no_hr:
        return "none there"
    mend = "if they are HR images, rename the folder or the files so that their names say HR"
    return f"none: the {len(no_hr)} there are {NAMED_LR}; {mend}"


def _sizes(files: Collection[Path]) -> dict[Path, ImageSize | ImageError]:
    """Return the size of each file, or what is wrong with it."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(files, pool.map(_size_or_fault, files), strict=True))


def _size_or_fault(path: Path) -> ImageSize | ImageError:
    try:
        return read_size(path)
    except ImageError as error:
        return error


def _unfit(images: dict[Path, ImageSize], partners: dict[Path, Path]) -> dict[Path, str]:
    """Return the images that are too small, or whose LR image cannot be used, each with what is wrong."""
    read, unfit = _sizes(partners.values()), {}
    for path, size in images.items():
        partner = partners.get(path)
        lr = partner and read[partner]
        fault = str(lr) if isinstance(lr, ImageError) else pair_fault(path, size, partner, lr)
        if fault:
            unfit[path] = fault
    return unfit
