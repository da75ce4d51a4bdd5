"""The folder that downloads and what can be made again are kept in, and bringing a file there."""

import errno
import os
import shutil
from pathlib import Path

import platformdirs

from eval.errors import RunError

_TIMEOUT_S = (10, 60)


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


def download(url: str, target: Path, sha256: str | None, advice: str, progress: bool = False) -> None:
    """Bring a file to its place, unless it is there with that hash, or, of an unknown one, there at all.

    It is downloaded beside its place, checked, and moved there, so it appears whole or not at all. What a killed
    download left behind is removed by the next one; whoever calls it sees to it that no other process is at it.

    Raises:
        RunError: the download failed twice, or brought other bytes; ``advice`` stands behind what went wrong.
    """
    import pooch
    import requests

    if target.is_file() and sha256 in (None, pooch.file_hash(str(target))):
        return
    pooch.get_logger().setLevel("ERROR")
    # Emptied, so by a name that no folder of the user's has.
    incoming = target.parent / f".incoming-{sha256 or target.name}"
    incoming.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(incoming, ignore_errors=True)
    hashes, urls = {target.name: sha256 and f"sha256:{sha256}"}, {target.name: url}
    source = pooch.create(incoming, base_url="", registry=hashes, urls=urls, retry_if_failed=1)
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=_TIMEOUT_S)
    try:
        # pooch's protocol names other parameters than pooch's own downloaders have.
        Path(source.fetch(target.name, downloader=downloader)).replace(target)  # pyright: ignore[reportArgumentType]
    except (requests.RequestException, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{target.name}: the download failed: {reason}\n  address   {url}\n{advice}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
