"""Which files of a folder are no HR images, though they look like it: LR halves of sets, and what lies beside them.

Sets are unpacked in many ways, and an LR image that is taken for HR does silent harm. Names tell most: those of
folders by the rule that evaluation has, so that none is LR to the one and HR to the other; and those of files, as
``0001_LR.png`` or ``babyLRBI_x4.png``. Where they do not, the pictures do: of two files of one name, the same at a
quarter of the size.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from eval.data.images import ImageSize
from eval.data.likeness import are_alike
from eval.data.naming import lr_beside_hr, role_of
from eval.words import first_of

FACTORS = (2, 3, 4, 8)
_MARK = re.compile(r"(?:_((?i:HR|LR|LQ|GT))|(?<=[a-z0-9])(HR|LR|LQ|GT))(?:BI|BD|DN)?(?:_?x\d)?$")
NAMED_LR = "LR images by their names"
SIZED_LR = "smaller copies of other images"
BESIDE_PAIRS = "neither _HR nor _LR beside such pairs"
MOST_NAMED = 4


def no_hr_by_name(files: Iterable[Path]) -> dict[Path, str]:
    """Return the files that are no HR images by folder or name, each with the reason."""
    by_folder = defaultdict(list)
    for path in files:
        by_folder[path.parent].append(path)
    reasons: dict[Path, str] = {}
    for folder, paths in by_folder.items():
        stems = [path.stem for path in paths]
        tailed = lr_beside_hr(stems)
        marks = {path: "LR" if path.stem in tailed else _mark(path.stem) for path in paths}
        paired = {"HR", "LR"} <= set(marks.values())
        # A folder that is called by a scale alone may hold LR images: evaluation refuses it.
        in_lr = role_of(folder, stems) != "HR"
        for path, mark in marks.items():
            if mark == "LR" or (mark is None and in_lr):
                reasons[path] = NAMED_LR
            elif mark is None and paired:
                reasons[path] = BESIDE_PAIRS
    return reasons


def no_hr_by_size(sizes: Mapping[Path, ImageSize]) -> dict[Path, str]:
    """Return the files that are a half, third, quarter or eighth of a picture of their name, with the reason."""
    by_name = defaultdict(list)
    for path in sizes:
        by_name[re.sub(r"_?x\d$", "", _MARK.sub("", path.stem))].append(path)
    reasons = {}
    for paths in by_name.values():
        largest = max(paths, key=lambda path: sizes[path].height * sizes[path].width)
        size = sizes[largest]
        parts = {ImageSize(size.height // factor, size.width // factor) for factor in FACTORS}
        # Sets number their files alike: only the pictures can tell.
        reasons |= {path: SIZED_LR for path in paths if sizes[path] in parts and are_alike(path, largest)}
    return reasons


def left_out_in_words(left_out: Iterable[tuple[Path, str]], others: Iterable[str] = ()) -> str:
    """Return "; left out: 2 LR images by their names (a_LR.png, b_LR.png)" and what else is; nothing if nothing is."""
    by_reason = defaultdict(list)
    for path, reason in left_out:
        by_reason[reason].append(path.name)
    parts = [f"{len(names)} {reason} ({first_of(names, MOST_NAMED)})" for reason, names in by_reason.items()]
    return f"; left out: {', '.join([*parts, *others])}" if parts or others else ""


def _mark(stem: str) -> str | None:
    """Return "HR" or "LR" if a file's name ends so."""
    found = _MARK.search(stem)
    return None if found is None else "HR" if (found[1] or found[2]).upper() in ("HR", "GT") else "LR"
