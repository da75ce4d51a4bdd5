"""Downloading published weights: on request only, hash-checked, whole or not at all."""

from pathlib import Path

from filelock import FileLock

from eval.cache import cache_folder, download
from eval.errors import RunError
from eval.zoo.checkpoints import file_sha256
from eval.zoo.manifest import MODEL_ZOO, CheckpointSpec


def fetch_checkpoint(known: CheckpointSpec, folder: Path | None = None, progress: bool = True) -> Path:
    """Download one checkpoint into a folder (the download cache by default) and return its path.

    Raises:
        RunError: the download failed or brought other bytes; the message says how to do it by hand.
    """
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / known.file
    by_hand = (
        f"  SHA-256   {known.sha256} ({known.bytes:,} bytes)\n"
        f"To do it by hand: download that file and put it at {MODEL_ZOO / known.file}"
    )
    with FileLock(folder / ".fetch.lock"):
        if known.url is not None:
            download(known.url, target, known.sha256, by_hand, progress)
        elif not target.is_file() or file_sha256(target) != known.sha256:
            raise RunError(f"{known.file}: has no public address; ask its authors, and put it into {MODEL_ZOO}")
    return target
