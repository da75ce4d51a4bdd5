"""Downloading published weights: on request only, hash-checked, whole or not at all."""

import shutil
from pathlib import Path

import pooch
import requests
from filelock import FileLock

from eval.cache import cache_folder
from eval.errors import RunError
from eval.zoo.checkpoints import file_sha256
from eval.zoo.manifest import MODEL_ZOO, CheckpointSpec

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60


def fetch_checkpoint(known: CheckpointSpec, folder: Path | None = None, progress: bool = True) -> Path:
    """Download one checkpoint into a folder (the download cache by default) and return its path.

    The file is downloaded beside its place, checked, and moved there. What a killed download left behind is
    removed by the next one. A file that is already there and has the right hash is not downloaded again.

    Raises:
        RunError: the download failed or brought other bytes; the message says how to do it by hand.
    """
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / known.file
    with FileLock(folder / ".fetch.lock"):
        if target.is_file() and file_sha256(target) == known.sha256:
            return target
        # Emptied, so by a name that no folder of the user's has.
        incoming = folder / f".incoming-{known.sha256}"
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            _download(known, incoming, progress).replace(target)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
    return target


def _download(known: CheckpointSpec, folder: Path, progress: bool) -> Path:
    if known.url is None:
        raise RunError(f"{known.file}: has no public address; ask its authors, and put it into {MODEL_ZOO}")
    pooch.get_logger().setLevel("ERROR")
    hashes, urls = {known.file: f"sha256:{known.sha256}"}, {known.file: known.url}
    source = pooch.create(folder, base_url="", registry=hashes, urls=urls, retry_if_failed=1)
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
    try:
        # pooch's protocol names other parameters than pooch's own downloaders have.
        return Path(source.fetch(known.file, downloader=downloader))  # pyright: ignore[reportArgumentType]
    except (requests.RequestException, ValueError, OSError) as error:
        raise RunError(_by_hand(known, error)) from error


def _by_hand(known: CheckpointSpec, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return (
        f"{known.file}: the download failed: {reason}\n"
        f"  address   {known.url}\n"
        f"  SHA-256   {known.sha256} ({known.bytes:,} bytes)\n"
        f"To do it by hand: download that file and put it at {MODEL_ZOO / known.file}"
    )
