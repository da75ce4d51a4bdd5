"""The entries of an official checkout, and where their weights lie."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from eval.files import open_within, sha256_within, why_unfit

MODEL_ZOO = "model_zoo"
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Entry:
    """One branch of ``select_model``.

    Attributes:
        name: as the challenge prints it, without padding.
        label: the name in tables and folders, unlike that of any other checkout's entry.
        data_range: None where the branch does not say it plainly.
        weights: its files of weights, as far as the branch says them plainly; relative to the checkout.
        defines_model: False for a branch that is empty: a model that was withheld.
        branch: the code of its branch, as Python writes it; comments are gone. Empty where it cannot be read.
        forward: the function that ``run`` calls for this entry instead of ``forward``, if any.
        is_placeholder: its branch is ``pass``, as the template has it where an entry's own code belongs.
        modules: what its branch imports.
        fault: why its branch cannot be read; then nothing but its id is known. Empty where it can.
    """

    id: int
    name: str
    label: str
    data_range: float | None
    weights: tuple[str, ...]
    defines_model: bool
    source_sha256: str
    branch: str = ""
    forward: str | None = None
    is_placeholder: bool = False
    modules: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Checkout:
    """A folder that holds ``test_demo.py``, ``models/`` and ``model_zoo/``.

    Attributes:
        origin: "NTIRE" and the year where the code says it, else the folder's name.
        counts_with_hooks: its FLOPs are those of the older counter (2022), not fvcore's.
    """

    path: Path
    origin: str
    entries: tuple[Entry, ...]
    counts_with_hooks: bool

    def located(self, file: str) -> Path | None:
        """Return where a file of weights that is named lies, as a worker finds it; None if nowhere.

        It is at its path, or else the first of its name in model_zoo/, whatever the case.
        """
        places = (self.path / file, *of_one_name(file, self.path / MODEL_ZOO))
        return next((place for place in places if why_unfit(place, self.path) is None), None)

    def weights_of(self, entry: Entry) -> dict[str, Path]:
        """Return where the files of weights lie that an entry names, without those that are not here."""
        places = {file: self.located(file) for file in entry.weights}
        return {file: place for file, place in places.items() if place and is_present(place, self.path)}

    def weights_sha256(self, entry: Entry) -> str | None:
        """Return the hash of an entry's weights; of several files, that of their hashes; None if one is not here.

        Of an entry that does not say which files it reads, it is the hash of all files of model_zoo/ and of where
        they lie.
        """
        places = self.weights_of(entry)
        if len(places) < len(entry.weights):
            return None
        if places:
            told = [sha256_within(place, self.path) for place in places.values()]
            return told[0] if len(told) == 1 else _sha256_of(told)
        if not entry.defines_model:
            return None
        found = sorted(path for path in (self.path / MODEL_ZOO).rglob("*") if why_unfit(path, self.path) is None)
        told = [f"{path.relative_to(self.path).as_posix()}\n{sha256_within(path, self.path)}\n" for path in found]
        return _sha256_of(told) if told else None


def _sha256_of(texts: list[str]) -> str:
    # Names of files may be no text.
    return hashlib.sha256(os.fsencode("".join(texts))).hexdigest()


def of_one_name(file: str | os.PathLike[str], folder: Path) -> list[Path]:
    """Return the files of a folder that have the name of a path, whatever its case, in their order."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [its for its in files if its.name.lower() == Path(file).name.lower()]


def is_present(file: Path, checkout: Path) -> bool:
    """Tell whether a file of weights is here, and not just a pointer of Git LFS; a huge one is, too."""
    try:
        with open_within(file, checkout) as opened:
            return not opened.read(len(_LFS_POINTER)).startswith(_LFS_POINTER)
    except OSError:
        return False
