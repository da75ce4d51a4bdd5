"""Labels that tell models apart which share one: by their origin, weights, tiles and averaged runs."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath

from eval.records.record import SHOWN_OF_A_HASH, Record, Settings
from eval.zoo.model_info import RELEASED, ZOO


def distinct(records: Sequence[Record]) -> list[Record]:
    """Return records whose labels tell models apart.

    Of models that share a label, those of a checkout name it. What then still shares one is told apart by the name of
    its weights, by tiles and their overlap, and by the number of averaged runs, as far as they differ.
    """
    for describe in (_origins, _variants):
        alike: dict[str, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            alike[record.model.label].append(place)
        renamed = list(records)
        for places in alike.values():
            telling = [words for words in describe([records[place] for place in places]) if len(set(words)) > 1]
            for place, *words in zip(places, *telling, strict=True):
                renamed[place] = _marked(records[place], ", ".join(filter(None, words)))
        records = renamed
    return list(records)


def _origins(records: Sequence[Record]) -> list[list[str]]:
    return [["" if record.model.origin == ZOO else record.model.origin for record in records]]


def _variants(records: Sequence[Record]) -> list[list[str]]:
    """Return lists of a word for each record: its weights, its tiles, its runs."""
    settings = _settings(records)
    overlaps: dict[int | None, set[int | None]] = defaultdict(set)
    for its in settings:
        overlaps[its.tile].add(its.tile_overlap)
    by = [f", overlap {its.tile_overlap}" if len(overlaps[its.tile]) > 1 else "" for its in settings]
    tiles = [f"tiles of {its.tile}{overlap}" if its.tile else "" for its, overlap in zip(settings, by, strict=True)]
    runs = [f"{its.runs} runs" if its.runs > 1 else "" for its in settings]
    return [_weights(records), tiles, runs]


def _settings(records: Sequence[Record]) -> list[Settings]:
    """Return each record's settings; one that did not finish as any complete one is taken for the newest of these."""
    complete = sorted((record for record in records if record.complete), key=lambda record: record.started_at)
    known = {_manner(record.settings) for record in complete}
    return [
        its.settings if not complete or _manner(its.settings) in known else complete[-1].settings for its in records
    ]


def _manner(settings: Settings) -> tuple:
    return settings.tile, settings.tile_overlap, settings.runs


def _weights(records: Sequence[Record]) -> list[str]:
    """Return the name of each record's weights, with its hash where others have that name; released ones have no mark.

    Of a run that did not find its weights nothing is known; it is taken for one with the newest.
    """
    known = sorted((its for its in records if its.model.weights_sha256), key=lambda its: its.started_at)
    models = [its.model if its.model.weights_sha256 or not known else known[-1].model for its in records]
    # Released weights are those of the model that the label names, as a baseline's is known by it.
    names = [
        "" if model.checkpoint == RELEASED else model.checkpoint or PurePath(model.weights_file or "no weights").stem
        for model in models
    ]
    hashes: dict[str, set[str | None]] = defaultdict(set)
    for name, model in zip(names, models, strict=True):
        hashes[name].add(model.weights_sha256)
    return [
        name if len(hashes[name]) == 1 else f"{name} {str(model.weights_sha256)[:SHOWN_OF_A_HASH]}".strip()
        for name, model in zip(names, models, strict=True)
    ]


def _marked(record: Record, mark: str) -> Record:
    """Return a record with a mark behind its label; its images lie where they lay."""
    if not mark:
        return record
    model = record.model.model_copy(update={"label": f"{record.model.label} ({mark})"})
    return record.model_copy(update={"model": model, "images_folder": record.sr_folder})
