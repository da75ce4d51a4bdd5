"""What third-party code is given of the disk: its own regular files, one by one, and nothing that lies beside them.

Small files are sent to the worker, which writes them to its scratch folder; large ones are shown to it read-only. Links
that leave the folder, sockets, pipes, devices and what is too large stay behind.
"""

import fnmatch
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eval.errors import UsageError
from eval.files import open_within, why_unfit
from eval.sources import file_and_imports

_SMALL_BYTES = 2**20
_MOST_FILES = 20_000
_MOST_SENT_BYTES = 2**28
# Each is a mount of its own.
_MOST_SHOWN = 500
# What a checkout holds that no entry needs.
_IDLE = (".git", "figs", "__pycache__", "results*")


@dataclass(frozen=True)
class Handed:
    """A file that is handed over.

    Attributes:
        place: where the worker finds it, relative to the folder of what it is given.
        path: where it lies on the disk.
        folder: the folder that it must not leave.
    """

    place: str
    path: Path
    folder: Path

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size

    @property
    def is_shown(self) -> bool:
        """Tell whether it is shown where it lies instead of sent."""
        return self.size > _SMALL_BYTES

    def read(self) -> bytes:
        """Return its content, at most what a small file may have."""
        with open_within(self.path, self.folder) as opened:
            return opened.read(_SMALL_BYTES)


def files_below(folder: Path, place: str = "", first: Iterable[Path] = ()) -> list[Handed]:
    """Return the files of a folder, the smallest first, so that no file of one entry displaces another's.

    Files of the folder that are named ``first`` come before all others, and nothing displaces them.
    """
    needed = [Handed(os.path.join(place, path.relative_to(folder)), path, folder) for path in first]
    others = sorted(islice(_fit_below(folder, place), _MOST_FILES), key=lambda file: (file.size, file.place))
    return _within_limits({file.place: file for file in (*needed, *others)}.values())


def files_beside(file: Path, more: Iterable[Path] = ()) -> list[Handed]:
    """Return a Python file, what it imports of its folder, and the files of more folders.

    A folder below the file's own keeps its place there; any other stands beside the file under its own name.

    Raises:
        UsageError: two of them have the same place, or they are more than is handed over.
    """
    root = file.parent
    own = (str(path.relative_to(root)) for path in sorted(file_and_imports(file)))
    given = {place: Handed(place, root / place, root) for place in own}
    for folder in more:
        place = str(folder.relative_to(root)) if folder.is_relative_to(root) else folder.name
        for handed in islice(_fit_below(folder, place), _MOST_FILES + 1):
            other = given.setdefault(handed.place, handed)
            if other.path != handed.path:
                told = f"{handed.path} and {other.path} would both be {handed.place} beside {file.name}"
                raise UsageError(f"--with {folder}: {told}; rename one of the folders")
    if len(given) > _MOST_FILES or len(_within_limits(given.values())) < len(given):
        most_mib = _MOST_SENT_BYTES // 2**20
        limits = f"{_MOST_FILES:,} files, {_MOST_SHOWN} above 1 MiB, and {most_mib} MiB of smaller ones"
        fix = "name the folders that its code reads, and none around them"
        raise UsageError(f"--with {', '.join(map(str, more))}: expected at most {limits}; {fix}")
    return list(given.values())


def _fit_below(folder: Path, place: str) -> Iterator[Handed]:
    """Yield the regular files of a folder as what stands at a place."""
    for path in _walked(folder):
        if why_unfit(path, folder) is None:
            yield Handed(os.path.join(place, path.relative_to(folder)), path, folder)


def _walked(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not any(fnmatch.fnmatch(name, idle) for idle in _IDLE)]
        yield from (Path(parent, name) for name in files)


def _within_limits(files: Iterable[Handed]) -> list[Handed]:
    kept, sent_bytes, shown = [], 0, 0
    for file in files:
        shown += file.is_shown
        sent_bytes += 0 if file.is_shown else file.size
        if sent_bytes <= _MOST_SENT_BYTES and shown <= _MOST_SHOWN:
            kept.append(file)
    return kept
