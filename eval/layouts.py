"""How sets of images lie on disk. Supporting another layout is one row of ``LAYOUTS``."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from eval.images import is_image_file
from eval.pairs import ImagePair


@dataclass(frozen=True)
class Layout:
    """How a set lies on disk. ``hr`` and ``lr`` are folders under the data folder, with ``{name}`` for the set's name.

    An image's name is its HR file's stem less ``hr_tail``; its LR file's stem is that name plus one of ``lr_tails``.
    """

    name: str
    hr: str
    lr: str
    hr_tail: str = ""
    lr_tails: tuple[str, ...] = ("x4", "")


LAYOUTS = (
    Layout("challenge", hr="{name}_HR", lr="{name}_LR"),
    Layout("DIV2K", hr="{name}_HR", lr="{name}_LR_bicubic/X4"),
    Layout("SelfExSR", hr="{name}/image_SRF_4", lr="{name}/image_SRF_4", hr_tail="_HR", lr_tails=("_LR",)),
    Layout("benchmark", hr="{name}/HR", lr="{name}/LR_bicubic/X4"),
    Layout("HR and LR", hr="{name}/HR", lr="{name}/LR"),
)
# The challenge has spelled its sets both ways.
ALIASES = {
    "valid": ("DIV2K_LSDIR_valid", "LSDIR_DIV2K_valid"),
    "test": ("DIV2K_LSDIR_test", "LSDIR_DIV2K_test"),
}


def matching_layouts(data_dir: Path, name: str) -> list[Layout]:
    """Return the layouts of which a set has the HR folder with images, and the LR folder where another fits too."""
    with_hr = [layout for layout in LAYOUTS if has_images(data_dir / layout.hr.format(name=name))]
    with_both = [layout for layout in with_hr if (data_dir / layout.lr.format(name=name)).is_dir()]
    return with_both or with_hr[:1]


def has_images(folder: Path) -> bool:
    """Tell whether a folder exists and at least one image lies directly in it."""
    return folder.is_dir() and any(map(is_image_file, folder.iterdir()))


def image_files(folder: Path) -> list[Path]:
    """Return the images that lie directly in a folder, sorted by name."""
    return sorted(filter(is_image_file, folder.iterdir()))


def list_datasets(data_dir: Path) -> list[str]:
    """Return the names of the sets that lie directly in a folder, the challenge's under their full names."""
    names = set()
    for child in sorted(data_dir.iterdir()):
        if not child.is_dir() or child.name.startswith("."):
            continue
        stem = child.name.removesuffix("_HR")
        if matching_layouts(data_dir, stem):
            names.add(stem)
        elif not _is_partner(child) and has_images(child):
            names.add(child.name)
    return sorted(names)


def _is_partner(folder: Path) -> bool:
    """Tell whether a folder is the LR half of a set whose HR half lies beside it."""
    stem, separator, _ = folder.name.rpartition("_LR")
    return bool(separator) and folder.with_name(f"{stem}_HR").is_dir()


def pair_files(data_dir: Path, name: str, layout: Layout) -> tuple[list[ImagePair], list[str]]:
    """Pair the files of a set by name, and say what has no partner."""
    hr_folder, lr_folder = (data_dir / folder.format(name=name) for folder in (layout.hr, layout.lr))
    if not lr_folder.is_dir():
        return [], [f"{lr_folder}: no such folder; the LR images of the layout '{layout.name}' belong there"]
    lr_by_stem = defaultdict(list)
    for path in image_files(lr_folder):
        lr_by_stem[path.stem].append(path)
    pairs, faults = [], []
    for hr in image_files(hr_folder):
        if not hr.stem.endswith(layout.hr_tail):
            continue
        image_name = hr.stem.removesuffix(layout.hr_tail)
        stems = [image_name + tail for tail in layout.lr_tails]
        partners = [path for stem in dict.fromkeys(stems) for path in lr_by_stem.pop(stem, [])]
        if len(partners) == 1:
            pairs.append(ImagePair(image_name, partners[0], hr))
        else:
            found = ", ".join(map(str, partners)) or "none"
            faults.append(f"{hr}: expected one LR partner, {' or '.join(stems)} in {lr_folder}; found {found}")
    strays = [path for paths in lr_by_stem.values() for path in paths]
    if lr_folder == hr_folder:
        strays = [path for path in strays if not path.stem.endswith(layout.hr_tail)]
    faults += [f"{path}: has no HR partner in {hr_folder}" for path in strays]
    return pairs, faults
