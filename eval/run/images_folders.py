"""Where the SR images of a task go: ``<model>/<set>``, unless these are another model's."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from eval.inference.engines.registry import EAGER
from eval.records.record import Record
from eval.run.tasks import Task

_SHOWN_OF_A_HASH, _LONGEST_PART = 8, 60


def images_folder(task: Task, known: Sequence[Record]) -> str:
    """Return the folder for a task's SR images, under the folder of results.

    The same model, run the same way, writes over its images. Another one of the same label (other weights, another
    precision or engine, tiles) gets a folder that names what is different.

    Args:
        task: what is to run.
        known: the records of that folder of results, oldest first.
    """
    owners = dict(_owners(known))
    for name in _names(task):
        folder = f"{name}/{task.dataset.name}"
        weights, key = owners.get(folder, (None, task.images_key))
        if key == task.images_key or (key is None and weights == task.contender.info.weights_sha256):
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


def _names(task: Task) -> Iterator[str]:
    info, placement = task.contender.info, task.placement
    weights = (info.checkpoint or PurePath(info.weights_file or "").stem)[:_LONGEST_PART]
    engine = placement.execution.engine if placement.execution.engine != EAGER else ""
    precision = placement.execution.precision if placement.execution.precision != "fp32" else ""
    tiles = f"tile{placement.tile}" if isinstance(placement.tile, int) else ""
    yield info.label
    yield "-".join(filter(None, (info.label, weights, engine, precision, tiles)))
    yield f"{info.label}-{task.images_key[:_SHOWN_OF_A_HASH]}"
