"""Records on disk: one JSON file each, in a folder ``records`` of a folder of results."""

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from eval.errors import RunError, UsageError, explain
from eval.images import atomic_path
from eval.record import SCHEMA_VERSION, Record

RECORDS_FOLDER = "records"


def write_record(record: Record, folder: Path) -> Path:
    """Write a record as JSON; the file appears whole or not at all.

    Its name is made of its key, so that measuring again replaces it; without a key it is of its own.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = record.key[:16] if record.key else f"{record.started_at:%Y%m%dT%H%M%S%f}Z_{os.getpid()}"
    path = folder / f"{record.model.label}_{record.dataset.name}_{record.settings.protocol}_{own}.json"
    with atomic_path(path) as partial:
        partial.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


def read_records(folder: Path) -> list[Record]:
    """Read every record of a folder, oldest first; an absent folder holds none.

    Raises:
        RunError: a file is no record of this schema version; the message names it.
    """
    return sorted(map(read_record, sorted(folder.glob("*.json"))), key=lambda record: record.started_at)


def find_records(places: Sequence[Path]) -> list[Record]:
    """Read the records of files, of folders of records, and of folders that hold ``records/``; oldest first.

    Raises:
        UsageError: a place does not exist or holds no record.
        RunError: a file is no record of this schema version.
    """
    records: list[Record] = []
    for place in places:
        inside = place / RECORDS_FOLDER
        found = [read_record(place)] if place.is_file() else read_records(inside) or read_records(place)
        if not found:
            raise UsageError(f"{place}: no such file or folder, or no records in it")
        records += found
    return sorted(records, key=lambda record: record.started_at)


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        RunError: the file is no record of this schema version.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunError(
            f"{path}: not a record of schema version {SCHEMA_VERSION} ({explain(error)}); "
            "move it out of the records folder, or measure again"
        ) from error
