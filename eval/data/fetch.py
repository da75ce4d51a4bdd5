"""Downloading image sets: on request only, each file checked, and what is there already is not downloaded again."""

import shutil
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from eval.cache import download, download_cache
from eval.data.images import is_image_file
from eval.errors import RunError, UsageError

# The repository of SelfExSR (Huang et al., CVPR 2015), which holds these sets.
SELFEXSR = "https://raw.githubusercontent.com/jbhuang0604/SelfExSR/master/data/"
_HASHES = Path(__file__).with_name("selfexsr.sha256")
DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
# Each archive with the folder that it makes; nobody publishes their hashes.
_ARCHIVES = {"DIV2K_valid_HR.zip": "DIV2K_valid_HR", "DIV2K_valid_LR_bicubic_X4.zip": "DIV2K_valid_LR_bicubic/X4"}
_DIV2K_VALID, _DIV2K_IMAGES = "DIV2K_valid", 100
# Beside the sets, and removed in the end: a name that nobody's own folder has.
_ASIDE = ".fetched-archives"


@cache
def known_files() -> dict[str, dict[str, str]]:
    """Return the files of each set of SelfExSR that can be fetched, with their SHA-256."""
    sets: dict[str, dict[str, str]] = {}
    for line in _HASHES.read_text(encoding="utf-8").splitlines():
        sha256, _, path = line.partition("  ")
        sets.setdefault(path.partition("/")[0], {})[path] = sha256
    return sets


def fetchable_sets() -> list[str]:
    """Return the names of all sets that can be fetched."""
    return [*known_files(), _DIV2K_VALID]


def num_files(name: str) -> int:
    """Return how many files a set is downloaded as."""
    return len(known_files().get(name, _ARCHIVES))


def fetched_sets() -> Path:
    """Return the folder that sets are fetched to."""
    return download_cache() / "data"


def fetch_set(
    name: str, folder: Path, address: str | None = None, on_file: Callable[[str], None] = lambda _file: None
) -> str:
    """Download a set into a folder, where it lies as its layout has it; return in a sentence what was checked.

    ``address`` is that of a mirror, with the files under the same names; whether it ends in a slash is all the same.

    Raises:
        UsageError: there is no such set.
        RunError: a download failed or brought other bytes; what came before is kept, and the same command goes on.
    """
    from filelock import FileLock

    if name not in fetchable_sets():
        raise UsageError(f"fetch data {name}: no such set; there are: {', '.join(fetchable_sets())}")
    address = address and f"{address.rstrip('/')}/"
    folder.mkdir(parents=True, exist_ok=True)
    # Another process that fetches the same downloads to the same places.
    with FileLock(folder / ".fetch.lock"):
        if name == _DIV2K_VALID:
            return _fetch_archives(folder, address or DIV2K, on_file)
        files = known_files()[name]
        for file, sha256 in files.items():
            _download(f"{address or SELFEXSR}{file}", folder / file, sha256)
            on_file(file)
        return f"{len(files)} files, each with the SHA-256 that we know"


def _download(url: str, target: Path, sha256: str | None) -> None:
    advice = f"What came before is kept: the same command goes on. By hand: put that file at {target}"
    download(url, target, sha256, advice)


def _fetch_archives(folder: Path, address: str, on_file: Callable[[str], None]) -> str:
    for archive, inside in _ARCHIVES.items():
        if _count(folder / inside) < _DIV2K_IMAGES:
            packed = folder / _ASIDE / archive
            _download(f"{address}{archive}", packed, None)
            _unpack(packed, folder)
            if _count(folder / inside) < _DIV2K_IMAGES:
                raise RunError(f"{archive}: holds {_count(folder / inside)} images in {inside}, not {_DIV2K_IMAGES}")
        on_file(archive)
    shutil.rmtree(folder / _ASIDE, ignore_errors=True)
    return f"{_DIV2K_IMAGES} pairs; no hash of the archives is published, so only their number is checked"


def _unpack(packed: Path, folder: Path) -> None:
    """Unpack an archive; each of its files appears whole or not at all."""
    aside = packed.with_suffix("")
    try:
        with zipfile.ZipFile(packed) as opened:
            opened.extractall(aside)
        for path in [path for path in aside.rglob("*") if path.is_file()]:
            target = folder / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    except (zipfile.BadZipFile, OSError) as error:
        raise RunError(f"{packed.name}: is no whole zip archive ({error}); run the same command again") from error
    finally:
        # Whole or not, it is not needed any more.
        packed.unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)


def _count(folder: Path) -> int:
    return sum(map(is_image_file, folder.iterdir())) if folder.is_dir() else 0
