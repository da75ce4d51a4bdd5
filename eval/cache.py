"""The folder that downloads and what can be made again are kept in."""

import errno
import os
from pathlib import Path

import platformdirs

from eval.errors import RunError


def download_cache() -> Path:
    """Return the folder that ``python -m eval fetch`` downloads to: ``$ESR_CACHE``, or the system's cache folder."""
    named = os.environ.get("ESR_CACHE")
    return Path(os.path.expanduser(named)) if named else platformdirs.user_cache_path("pfdnlite-esr")


def cache_folder(*inner: str) -> Path:
    """Return a folder in the download cache, made if it is not there.

    Raises:
        RunError: it cannot be written; the message names the variable that moves it.
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
