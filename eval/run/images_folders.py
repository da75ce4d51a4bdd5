"""Where the SR images of a task go: ``<model>/<set>``, unless these are another model's.

Whose they are is told by records and, from before the first image is written, by a hidden file beside the images: two
commands at once have no records of each other.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from eval.config import EAGER, FULL_PRECISION
from eval.files import beginning
from eval.records.record import Record
from eval.report.escapes import plain
from eval.run.tasks import EvaluationTask
from eval.zoo.model_info import IN_MEMORY

_SHOWN_OF_A_HASH, _MOST_BYTES_OF_WEIGHTS, _MOST_BYTES_OF_A_SETTING = 8, 60, 40
# In a folder of images: the ``images_key`` of those that may be written there.
CLAIM = ".images_key"


def images_folder(task: EvaluationTask, images_dir: Path, known: Sequence[Record], kept: bool = True) -> Path:
    """Return the folder for a task's SR images, under ``images_dir``; it is theirs from now on.

    The same model, run the same way, writes over its images. Another one of the same label (other weights, another
    precision, engine or setting, tiles) gets a folder that names what is different. ``known`` are the records of that
    folder of results, oldest first. Where no record will say whose images they are, which is ``kept``, the plain name
    is that of plain runs alone.
    """
    # Some disks do not tell folders apart by the case of their names.
    owners = {folder.casefold(): owner for folder, owner in _owners(known)}
    folder = images_dir
    for name in _names(task, kept):
        folder = images_dir / name / task.dataset.name
        weights, key = owners.get(f"{name}/{task.dataset.name}".casefold(), (None, task.images_key))
        free = key == task.images_key or (key is None and weights == task.model.info.weights_sha256)
        if free and _claimed(folder, task.images_key):
            break
    # Else it is the last one, whose name holds the key.
    return folder


def _claimed(folder: Path, images_key: str) -> bool:
    """Tell whether a folder is for the images of this key, after claiming it if it is nobody's."""
    claim = folder / CLAIM
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with claim.open("xb") as file:
                file.write(images_key.encode())
        except FileExistsError:
            return claim.read_bytes() == images_key.encode()
    # The first image cannot be written either, and its record says why.
    except OSError:
        pass
    return True


def give_up_unused(folders: Iterable[Path]) -> None:
    """Take claims back where no image was written: from models without weights, or that failed at the first image."""
    for folder in folders:
        with suppress(OSError):
            if [path.name for path in folder.iterdir()] == [CLAIM]:
                (folder / CLAIM).unlink()
                folder.rmdir()
                folder.parent.rmdir()


def _owners(records: Iterable[Record]) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    """Yield each folder with the weights and the key of the images that were last written there."""
    for record in records:
        if record.images_folder and record.images:
            yield record.images_folder, (record.model.weights_sha256, record.images_key)
        elif record.key is None or record.images_key is None:
            # Before it was kept, all went to one place.
            yield f"{record.model.label}/{record.dataset.name}", (record.model.weights_sha256, None)


def _names(task: EvaluationTask, kept: bool) -> Iterator[str]:
    info, config = task.model.info, task.config
    # A network in memory has its weights' hash: a name can be that of any.
    known = str(info.weights_sha256)[:_SHOWN_OF_A_HASH] if info.origin == IN_MEMORY else info.checkpoint
    weights = beginning(known or PurePath(info.weights_file or "").stem, _MOST_BYTES_OF_WEIGHTS)
    engine = config.engine if config.engine != EAGER else ""
    precision = config.precision if config.precision != FULL_PRECISION else ""
    tf32 = "tf32" if config.tf32 and "tf32" not in config.idle else ""
    tiles = f"tile{config.tile}" if isinstance(config.tile, int) else ""
    others = (plain(its, _MOST_BYTES_OF_A_SETTING) for its in config.unusual)
    manner = list(filter(None, (engine, precision, tf32, tiles, *others)))
    if info.origin != IN_MEMORY and (kept or not manner):
        yield info.label
    yield "-".join(filter(None, (info.label, weights, *manner)))
    yield f"{info.label}-{task.images_key[:_SHOWN_OF_A_HASH]}"
