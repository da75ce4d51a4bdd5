"""Where the SR images of a task go: ``<model>/<set>``, unless these are another model's."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from eval.config import EAGER, FULL_PRECISION
from eval.records.record import Record
from eval.run.tasks import EvaluationTask
from eval.zoo.model_info import IN_MEMORY

_SHOWN_OF_A_HASH, _LONGEST_PART = 8, 60


def images_folder(task: EvaluationTask, known: Sequence[Record], kept: bool = True) -> str:
    """Return the folder for a task's SR images, under the folder of results.

    The same model, run the same way, writes over its images. Another one of the same label (other weights, another
    precision or engine, tiles) gets a folder that names what is different. ``known`` are the records of that folder of
    results, oldest first. Where no record will say whose images they are, which is ``kept``, the plain name is that of
    plain runs alone.
    """
    owners = dict(_owners(known))
    for name in _names(task, kept):
        folder = f"{name}/{task.dataset.name}"
        weights, key = owners.get(folder, (None, task.images_key))
        if key == task.images_key or (key is None and weights == task.model.info.weights_sha256):
            return folder
    raise AssertionError("the last name holds the key")


def _owners(records: Iterable[Record]) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    """Yield each folder with the weights and the key of the images that were last written there."""
    for record in records:
        if record.images_folder:
            yield record.images_folder, (record.model.weights_sha256, record.images_key)
        elif record.key is None or record.images_key is None:
            # Before it was kept, all went to one place.
            yield f"{record.model.label}/{record.dataset.name}", (record.model.weights_sha256, None)


def _names(task: EvaluationTask, kept: bool) -> Iterator[str]:
    info, config = task.model.info, task.config
    # A network in memory has its weights' hash: a name can be that of any.
    known = str(info.weights_sha256)[:_SHOWN_OF_A_HASH] if info.origin == IN_MEMORY else info.checkpoint
    weights = (known or PurePath(info.weights_file or "").stem)[:_LONGEST_PART]
    engine = config.engine if config.engine != EAGER else ""
    precision = config.precision if config.precision != FULL_PRECISION else ""
    tf32 = "tf32" if config.tf32 and "tf32" not in config.idle else ""
    tiles = f"tile{config.tile}" if isinstance(config.tile, int) else ""
    manner = list(filter(None, (engine, precision, tf32, tiles)))
    if info.origin != IN_MEMORY and (kept or not manner):
        yield info.label
    yield "-".join(filter(None, (info.label, weights, *manner)))
    yield f"{info.label}-{task.images_key[:_SHOWN_OF_A_HASH]}"
