"""Records on disk: one JSON file each, in a folder ``records`` of a folder of results."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from eval.contents import text_of
from eval.errors import RunError, UsageError, explain
from eval.files import beginning, write_whole
from eval.json_files import NoJsonError, json_of
from eval.records.record import SCHEMA_VERSION, Record

RECORDS_FOLDER = "records"
# As long as a usual record.
_PROBE_BYTES = 2**16


def write_record(record: Record, folder: Path) -> Path:
    """Write a record as JSON; the file appears whole or not at all.

    A complete record's name is made of its key, so that measuring again replaces it, and what did not finish; counts
    that failed this time are kept from before. One that is not complete has another name, and does not replace one that
    holds more runs or images.

    Raises:
        OSError: the folder cannot be written.
        RunError: the file that it would replace is no record of this schema version.
    """
    own = f"{record.started_at:%Y%m%dT%H%M%S%f}Z_{os.getpid()}"
    # The key tells records apart.
    parts = [beginning(record.model.label), beginning(record.dataset.name), record.settings.protocol]
    stem = "_".join((*parts, record.key[:16] if record.key else own))
    incomplete = folder / f"{stem}_incomplete.json"
    if record.complete or not record.key:
        path = folder / f"{stem}.json"
        former = _read_if_there(path)
        record = _with_counts_of(former, record) if former else record
    elif (former := _read_if_there(incomplete)) and _held(former) > _held(record):
        path = folder / f"{stem}_incomplete_{own}.json"
    else:
        path = incomplete
    write_whole(path, record.model_dump_json(indent=1) + "\n")
    if record.complete:
        incomplete.unlink(missing_ok=True)
    return path


def _held(record: Record) -> tuple[int, int]:
    """Return how much a record holds that is not complete: finished runs, and images."""
    return record.settings.runs, len(record.images)


def _with_counts_of(former: Record, record: Record) -> Record:
    """Return a record with the counts of a former one of its key, where its own failed: they follow from the key."""
    known, own = former.complexity, record.complexity
    if former.key != record.key or known is None or known.faults or (own is not None and not own.faults):
        return record
    of_network = (flag for flag in former.flags if flag.of_network)
    of_run = (flag for flag in record.flags if not flag.of_network)
    return record.model_copy(update={"complexity": known, "flags": (*of_network, *of_run)})


def check_writable(save_dir: Path, inside: str = "") -> None:
    """Make a folder for results and try to write there, before the work whose figures it is to hold.

    Raises:
        UsageError: it cannot be made or written.
    """
    folder = save_dir / inside
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise UsageError(f"--save_dir {save_dir}: cannot be written: {error.strerror}; name another folder") from error


def read_records(folder: Path) -> list[Record]:
    """Read every record of a folder, oldest first; an absent folder holds none.

    What another command takes away meanwhile is passed over, as what it adds may be.

    Raises:
        RunError: a file is no record of this schema version; the message names it.
    """
    return sorted(_records_in(folder).values(), key=lambda record: record.started_at)


def find_records(places: Sequence[Path]) -> list[Record]:
    """Read the records of files, of folders of records, and of folders that hold ``records/``; oldest first.

    A file that lies in several places counts once.

    Raises:
        UsageError: a place does not exist or holds no record.
        RunError: a file is no record of this schema version.
    """
    records: dict[Path, Record] = {}
    for place in places:
        inside = place / RECORDS_FOLDER
        found = {place: read_record(place)} if place.is_file() else _records_in(inside) or _records_in(place)
        if not found:
            what = "no records found" if place.exists() else "no such file or folder"
            raise UsageError(
                f"{place}: {what}; expected a folder given as --save_dir, a folder of records, or a record"
            )
        records |= {path.resolve(): record for path, record in found.items()}
    return sorted(records.values(), key=lambda record: record.started_at)


def by_key(records: Iterable[Record]) -> dict[str, Record]:
    """Return the record of each key that answers it: a complete one before any other, then the newest."""
    ordered = sorted(records, key=lambda record: (record.complete, record.started_at))
    return {record.key: record for record in ordered if record.key}


def _records_in(folder: Path) -> dict[Path, Record]:
    return {path: its for path in sorted(folder.glob("*.json")) if (its := _read_if_there(path))}


def _read_if_there(path: Path) -> Record | None:
    # To ask for it first would not do: another command may take it away in between.
    try:
        return read_record(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        RunError: the file is no record of this schema version.
    """
    data = path.read_bytes()
    try:
        return _with_ratio_to_itself(Record.model_validate_json(text_of(data)))
    except (ValidationError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: {_why_no_record(data, error)}") from error


def _with_ratio_to_itself(record: Record) -> Record:
    """Return a record whose ratio to itself has its interval: older ones of few samples leave it open."""
    timing = record.timing
    if not timing or not timing.ratio or (timing.ratio.baseline, timing.ratio.estimate) != (record.model.label, 1):
        return record
    known = timing.ratio.model_copy(update={"low": 1.0, "high": 1.0})
    return record.model_copy(update={"timing": timing.model_copy(update={"ratio": known})})


def _why_no_record(data: bytes, error: ValidationError | UnicodeDecodeError) -> str:
    """Return what a file is instead of a record, or what it lacks, and what to do."""
    reason = explain(error) if isinstance(error, ValidationError) else str(error)
    try:
        if _is_results_json(json_of(data)):
            return "is no record but a results.json of the challenge: `eval score` and `eval audit` read it"
    except NoJsonError as fault:
        reason = str(fault)
    advice = "move it out of the records folder, or measure again"
    return f"not a record of schema version {SCHEMA_VERSION} ({reason}); {advice}"


def _is_results_json(content: object) -> bool:
    """Tell whether JSON has the form of a published results.json, whatever its values: models by name, with times."""
    return isinstance(content, dict) and any(isinstance(it, dict) and "valid_runtime" in it for it in content.values())
