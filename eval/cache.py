"""The folder that downloads and what can be made again are kept in."""

import errno
import os
from pathlib import Path

import platformdirs

from eval.errors import RunError


def download_cache() -> Path:
    """Return the folder that ``python -m eval fetch`` downloads to: ``$ESR_CACHE``, or the system's cache folder.

    Raises:
        RunError: this user has no home folder, as in a container, and so no cache folder.
    """
    named = os.environ.get("ESR_CACHE")
    try:
        folder = os.path.expanduser(named) if named else platformdirs.user_cache_dir("pfdnlite-esr")
    # Of newer versions; older ones return a path that begins with ~.
    except RuntimeError:
        folder = "~"
    if folder.startswith("~"):
        raise RunError("no cache folder: this user has no home folder; set ESR_CACHE to a folder that can be written")
    return Path(folder)


def cache_folder(*inner: str) -> Path:
    """Return a folder in the download cache, made if it is not there.

    Raises:
        RunError: there is none, or it cannot be written; the message names the variable that moves it.
    """
    folder = download_cache().joinpath(*inner)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise RunError(
            f"{folder}: this cache folder cannot be written ({error.strerror}); set ESR_CACHE to a folder that can be"
        ) from error
    return folder
