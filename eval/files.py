"""Files that appear whole or not at all, files of others, files that are run, and where the project lies."""

import hashlib
import importlib.util
import os
import secrets
import stat
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from io import BufferedReader
from pathlib import Path
from types import ModuleType
from typing import IO

from eval.errors import UsageError

PROJECT = Path(__file__).resolve().parent.parent
# Read from beside the code.
_MODEL_ZOO = "model_zoo/manifest.toml"
# Packages of the project that folders of others have, too.
_OWN_PACKAGES = {"eval", "models"}
# Of one file of others: no network of this field comes near it.
MAX_FILE_BYTES = 2**30


def check_in_place() -> None:
    """Refuse an installation that copied the code alone: tables, weights and pages' parts are read from beside it.

    Raises:
        UsageError: it did.
    """
    if not (PROJECT / _MODEL_ZOO).is_file():
        raise UsageError(
            f"{PROJECT}: holds a copy of the code without {_MODEL_ZOO}: the project runs from its own folder only. "
            "There: pip install -e ."
        )


def extras() -> dict[str, list[str]]:
    """Return the packages that only some commands need, by the extra of pyproject.toml that has them."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; it takes ``path``'s place if the block succeeds.

    Raises:
        OSError: it cannot be written; names ``path``, as a full disk's own error does not.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # The kernel takes the user's umask from this mode; to read the umask, a process would have to change it.
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by ``atomic_path``, and its folder if need be; text as UTF-8, its line ends as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def beginning(name: str, most_bytes: int = 80) -> str:
    """Return as much of a name as leaves room beside it: a file's or a folder's name has 255 bytes at most."""
    return name.encode()[:most_bytes].decode(errors="ignore")


def mute(stream: IO[str]) -> None:
    """Send what a stream writes nowhere: its reader has gone, and what waits would raise when the process ends."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def what_bars(folder: Path) -> Path | None:
    """Return what keeps a folder, which need not exist, from being written: itself, or the nearest that is above it.

    None if nothing does. Nothing is made or tried: this can be asked before it is known whether anything is to be
    written.
    """
    nearest = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), None)
    may_be = nearest is None or (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK))
    return None if may_be else nearest


def why_unwritable(folder: Path) -> str | None:
    """Return in words what bars a folder from being written, as in "a.txt is no folder"; None if nothing does."""
    if (place := what_bars(folder)) is None:
        return None
    return f"{place} may not be written by you" if place.is_dir() else f"{place} is no folder"


class UnfitFileError(OSError):
    """A path that others made is no file that can be read: a link out of its folder, a pipe, or too large."""


def open_within(path: Path, folder: Path) -> BufferedReader:
    """Open a regular file that others may have made, without waiting and without following a link out of its folder.

    Raises:
        UnfitFileError: it is anything else, or larger than ``MAX_FILE_BYTES``; the message says which.
        OSError: it cannot be read.
    """
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(folder)):
        raise UnfitFileError("is a link that leads out of its folder")
    # Without O_NONBLOCK, opening a named pipe would wait for its writer.
    file = os.open(real, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
        return os.fdopen(file, "rb")
    os.close(file)
    if stat.S_ISREG(status.st_mode):
        raise UnfitFileError(f"has {status.st_size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read")
    raise UnfitFileError("is no regular file")


def why_unfit(path: Path, folder: Path) -> str | None:
    """Return why ``open_within`` does not open a file, as in "is no regular file"; None if it does."""
    try:
        open_within(path, folder).close()
    except UnfitFileError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def why_no_file(path: str | Path) -> str | None:
    """Return why a path that a user names is no file, as in "no such file"; None if it is one."""
    if os.path.isfile(path):
        return None
    return "a folder, no file" if os.path.isdir(path) else "no such file"


def why_no_folder(path: str | Path) -> str | None:
    """Return why a path that a user names is no folder, as in "no such folder"; None if it is one."""
    if os.path.isdir(path):
        return None
    return "a file, no folder" if os.path.exists(path) else "no such folder"


def is_of_variable(data_dir: Path | None) -> bool:
    """Tell whether a folder of image sets is that of ``ESR_DATA``, which stands for all commands: it was not typed."""
    named = os.environ.get("ESR_DATA")
    return bool(named) and data_dir == Path(os.path.expanduser(named))


def states_of(files: Iterable[Path]) -> list[tuple[str | int, ...]]:
    """Return what tells files from ones that were replaced or written to since, whatever their size and times say.

    A link, another name or other rights change it too: who sees another state looks into the file.

    Raises:
        OSError: one of them is gone.
    """
    found = [(str(file), os.stat(file)) for file in files]
    return [(name, its.st_dev, its.st_ino, its.st_size, its.st_mtime_ns, its.st_ctime_ns) for name, its in found]


def sha256_within(path: Path, folder: Path) -> str:
    """Return the hash of a file that ``open_within`` opens; its bytes are never in memory at once."""
    with open_within(path, folder) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


class _Beside:
    """Finds modules in one folder, and remembers which; like a folder that is looked in first, after built-in ones."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.names: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is; None where it is not in the folder.

        Raises:
            ModuleNotFoundError: the folder's package lacks it, and ours of that name, installed in place, may have it.
        """
        if path is not None and name.partition(".")[0] in _OWN_PACKAGES & self.names:
            if PathFinder.find_spec(name, path) is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return None
        found = None if path is not None else PathFinder.find_spec(name, [self.folder])
        # A folder without __init__.py is no package where there is one of its name, other than our models.
        if found is None or (found.loader is None and name != "models" and _is_package(name)):
            return None
        self.names.add(name)
        return found

    def hidden(self) -> dict[str, ModuleType]:
        """Return the modules that were imported already and that the folder has others for, or newer ones."""
        kept = sys.stdlib_module_names | {"__main__"} | (_OWN_PACKAGES if self.folder == str(PROJECT) else set())
        tops = {name for name in {its.partition(".")[0] for its in sys.modules} - kept if self.find_spec(name)}
        return {name: its for name, its in sys.modules.items() if name.partition(".")[0] in tops}


def _is_package(name: str) -> bool:
    found = PathFinder.find_spec(name)
    return found is not None and found.loader is not None


@contextmanager
def importing_beside(file: Path) -> Iterator[None]:
    """Let a Python file import what lies beside it, in a block of code that runs it.

    What is imported of its folder is forgotten at the end: another folder may hold other modules of these names, and
    the same one other text by then. For the same reason modules of these names that were there before are hidden
    meanwhile; but those of the standard library stay, and our own packages where the folder is the project's.
    """
    finder = _Beside(str(file.resolve().parent))
    # A file that was written a moment ago may not be known yet.
    importlib.invalidate_caches()
    hidden = finder.hidden()
    for name in hidden:
        del sys.modules[name]
    sys.meta_path.insert(sys.meta_path.index(PathFinder), finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in finder.names]:
            del sys.modules[name]
        sys.modules.update(hidden)


def module_of(file: Path, name: str) -> ModuleType:
    """Run a Python file as a module of a name that nothing else has; relative imports find what lies beside it.

    Raises:
        ImportError: by its suffix it is no Python file.
        Exception: whatever its code raises.
    """
    # Of another file of this name, or of this one as it was.
    for former in [its for its in sys.modules if its.startswith(f"{name}.")]:
        del sys.modules[former]
    # A module with a folder is a package of its own name.
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(file.absolute().parent)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{file}: no Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by its name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
