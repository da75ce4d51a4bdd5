"""What a command is to write, refused before any work is done for it."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from eval.errors import UsageError
from eval.files import what_bars
from eval.zoo.checkpoints import weight_folders
from eval.zoo.manifest import all_models


def check_outputs(files: Mapping[str, Path | None], *reads: Path) -> None:
    """Refuse files that cannot be written, or that would overwrite what the command reads or writes besides.

    Each file stands under the flag or argument that names it; None was not asked for.

    Raises:
        UsageError: a file is refused.
    """
    taken = {path.resolve() for path in reads}
    for flag, path in files.items():
        if path is None:
            continue
        if path.is_dir():
            raise UsageError(f"{flag} {path}: expected a file, got a folder")
        if path.resolve() in taken:
            raise UsageError(f"{flag} {path}: expected a file of its own, got one that this command needs besides")
        taken.add(path.resolve())
        check_folder(flag, path.parent)


def check_folder(flag: str, folder: Path) -> None:
    """Refuse a folder in which nothing can be written, and one that neither is there nor can be made.

    Raises:
        UsageError: it is refused.
    """
    if place := what_bars(folder.absolute()):
        raise UsageError(f"{flag} {folder}: expected a folder that can be written, got {place}, which cannot")


def keep_zoo_whole(path: Path, content: bytes | None = None, flag: str = "") -> None:
    """Refuse to write what the zoo, which knows its files by their hashes, would then call damaged.

    Only ``content`` that it knows may be written; None is content that is yet to be made.

    Raises:
        UsageError: the zoo takes the file for one of its checkpoints.
    """
    known = next((its for spec in all_models() for its in spec.checkpoints if its.file == path.name), None)
    if known is None or (content is not None and known.sha256 == sha256(content).hexdigest()):
        return
    named = f"{flag} {path}" if flag else path
    if path.parent.resolve() in {folder.resolve() for folder in weight_folders()}:
        raise UsageError(
            f"{named}: expected a file of your own for these weights, got one that the zoo knows by the "
            f"SHA-256 {known.sha256}; name another file, such as pfdnlite_exported.safetensors"
        )
