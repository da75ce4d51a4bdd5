"""From records to what is ranked. Records that do not belong together are refused with the reason."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from eval.config import one_form
from eval.errors import RunError, UsageError
from eval.intervals import LEAST_RUNTIMES
from eval.ranking.editions import Edition
from eval.ranking.entries import Entry, Measured
from eval.records.conditions import is_timed, memory_measure, tf32_of, unusual_of
from eval.records.record import Record
from eval.words import counted
from eval.zoo.model_info import ZOO


def select(
    records: Sequence[Record], datasets: Sequence[str] = (), device: str | None = None, **settings: str | None
) -> list[Record]:
    """Return the records of the given sets ("valid" is "DIV2K_LSDIR_valid" too), device and settings; all by default.

    ``settings`` are names and values of a record's, as in ``protocol="steady"``; None for any.

    Raises:
        UsageError: there is none; the message says what there is.
    """
    chosen = [
        record
        for record in records
        if (not datasets or any(_is_named(record.dataset.name, name) for name in datasets))
        and all(value in (None, getattr(record.settings, name)) for name, value in settings.items())
        and (device is None or _is_on(record, device))
    ]
    if records and not chosen:
        kinds = {(r.dataset.name, str(r.settings.protocol), r.settings.device, r.environment.machine) for r in records}
        listing = "; ".join(", ".join(kind) for kind in sorted(kinds))
        flags = ", ".join(f"--{name}" for name in ("datasets", "device", *settings))
        raise UsageError(f"no record fits {flags}; there are: {listing}")
    return chosen


def _is_on(record: Record, device: str) -> bool:
    """Tell whether a device is a record's: its kind, as in "cuda", or a part of its name, as in "H100".

    The CPU beside a GPU is no device, but behind the GPU's name and a comma it tells which.
    """
    device, environment = device.lower(), record.environment
    if device.partition(":")[0] in ("cuda", "mps", "cpu"):
        return one_form(device) == record.settings.device
    name = environment.machine if "," in device else environment.device_name
    return device in name.lower()


def _is_named(dataset: str, name: str) -> bool:
    return dataset == name or (name in ("valid", "test") and dataset.endswith(f"_{name}") and "LSDIR" in dataset)


def entries_from(records: Sequence[Record], edition: Edition) -> Measured:
    """Make one entry a model from records of one protocol on one device, over one set or valid and test.

    What is no network or has no complete record is left out, and a note says why. So are records without times
    beside others.

    Raises:
        RunError: records differ in protocol, device, settings or images, a model lacks a set, or no time was taken.
    """
    records, left_out = _to_rank(records)
    protocol, device = _refuse_mixtures(records)
    roles = {record.dataset.name: edition.role_of(record.dataset.name, record.dataset.num_images) for record in records}
    sets = sorted(roles, key=lambda name: (roles[name] != "valid", name))
    if len(sets) > 1 and [roles[name] for name in sets] != ["valid", "test"]:
        expected = "expected records of one set, or of the challenge's valid and test sets"
        raise RunError(f"{expected}, got {', '.join(sets)}; choose one by --datasets")
    rows = _by_model(records, sets)
    unpaired = _why_unpaired(rows, protocol)
    notes = [unpaired] if unpaired else []
    notes += _other_software(rows)
    notes += _standing_twice(rows)
    notes += dict.fromkeys(f"{its.model.label}: {flag.text}" for row in rows for its in row for flag in its.flags)
    entries = tuple(_entry(row, roles, not unpaired) for row in rows)
    if len({memory_measure(row[0]) for row in rows if row[0].peak_memory_mib is not None}) > 1:
        entries = tuple(replace(entry, peak_memory_mib=None) for entry in entries)
        notes.append("Mem is left out: it was not taken in one way for all models")
    known = tuple(filter(None, map(roles.get, sets)))
    parts = {its.dataset.name: its.timed_part for its in rows[0] if its.timed_part}
    notes = [*left_out, *notes]
    return Measured(entries, tuple(sets), known, protocol, device, tuple(notes), parts=parts, unpaired=unpaired)


def _to_rank(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Return the complete records of networks, no untimed ones beside timed ones; and why others are left out."""
    idle = dict.fromkeys(record.model.label for record in records if not record.model.is_network)
    records = [record for record in records if record.model.is_network]
    complete = [record for record in records if record.complete]
    chosen = [record for record in complete if is_timed(record)] or complete
    labels = {record.model.label for record in chosen}
    others = {record.model.label: record for record in records if record.model.label not in labels}
    left_out = [f"{label} is not ranked: it is no network" for label in idle]
    for label, its in others.items():
        why = "it was not timed" if its.complete else f"its run {its.status}: {its.reason}"
        left_out.append(f"{label} is not ranked: {why}")
    if not chosen:
        reasons = "".join(f"\n  {text}" for text in left_out) or " none at all"
        raise RunError(f"expected records of finished runs to rank, found:{reasons}")
    return chosen, left_out


def _by_model(records: Sequence[Record], sets: Sequence[str]) -> list[list[Record]]:
    """Return each model's records, one a set in their order; models by id."""
    by_label: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: record.model.id):
        by_label[record.model.label][record.dataset.name] = record
    _refuse_other_code(by_label)
    lacking = [f"{label} on {name}" for label, its in by_label.items() for name in sets if name not in its]
    if lacking:
        raise RunError(
            f"every model needs a record of each set; missing: {', '.join(lacking)}; run these, or give --datasets"
        )
    return [[its[name] for name in sets] for its in by_label.values()]


def _refuse_other_code(by_label: Mapping[str, Mapping[str, Record]]) -> None:
    """Refuse means over the sets of what is one network by its label only."""
    for label, its in by_label.items():
        if len({(record.model.source_sha256, record.model.weights_sha256) for record in its.values()}) > 1:
            raise RunError(
                f"{label}: its records of {' and '.join(its)} are of other code or weights; measure it on both anew, "
                "in a new --save_dir"
            )


def _other_software(rows: Sequence[Sequence[Record]]) -> list[str]:
    """Say by which versions of torch, and on which systems, models were measured, where they differ."""
    records = [record for row in rows for record in row]
    told = _unlike(records, lambda record: f"torch {record.environment.torch}, {record.environment.platform}")
    return [f"not all were measured by one software: {told}"] if told else []


def _unlike(records: Iterable[Record], value: Callable[[Record], str]) -> str:
    """Say which models' records have which value, as "a (X, Y); b (Z)"; nothing where all have the same."""
    labels: dict[str, set[str]] = defaultdict(set)
    for record in records:
        labels[value(record)].add(record.model.label)
    told = [f"{item} ({', '.join(sorted(its))})" for item, its in sorted(labels.items())]
    return "; ".join(told) if len(told) > 1 else ""


def _standing_twice(rows: Sequence[Sequence[Record]]) -> list[str]:
    """Say which entries of a checkout are ranked in several versions: a mended one does not replace the older one."""
    versions: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in sorted((row[0] for row in rows), key=lambda its: its.started_at):
        if record.model.origin != ZOO:
            versions[record.model.origin, record.model.name].append(record)
    return [
        f"{name} of {origin} has {len(its)} ranks, one for each of its weights, the oldest first: "
        f"{', '.join(f'{record.model.label} ({record.started_at:%Y-%m-%d})' for record in its)}. If the newest "
        "replaces the others, move the others' records (weights_sha256 tells them apart) out of the folder and score "
        "again"
        for (origin, name), its in versions.items()
        if len(its) > 1
    ]


def _refuse_mixtures(records: Sequence[Record]) -> tuple[str, str]:
    """Return the protocol and the device that all records share."""
    for what, advice, value in (
        ("protocol", "choose one by --protocol", lambda record: str(record.settings.protocol)),
        ("device", "choose one by --device, or measure all on one", _place),
        ("settings", "choose by --engine and --precision, or measure all alike, as with --tile none", _settings),
        ("TF32", "measure all alike, in a folder of their own", lambda record: tf32_of(record) or "as by default"),
        ("flags", "measure all alike", lambda record: ", ".join(unusual_of(record)) or "as by default"),
    ):
        if listing := _unlike(records, value):
            raise RunError(f"records of different {what} cannot be ranked together: {listing}; {advice}")
    _refuse_other_images(records)
    files = {record.dataset.identity for record in records if record.dataset.sha256}
    if len(files) > len({name for name, _ in files}):
        raise RunError(
            "some sets have the same name but different files; run all models on the same files, in a new --save_dir"
        )
    if not is_timed(records[0]):
        raise RunError(
            "records of the protocol accuracy have no runtimes to rank by; run the models with --protocol steady"
        )
    return str(records[0].settings.protocol), records[0].environment.machine


def _refuse_other_images(records: Sequence[Record]) -> None:
    """Refuse means over different images of one set, of PSNR or of times."""
    first: dict[str, Record] = {}
    for record in records:
        name, label = record.dataset.name, record.model.label
        pair = record, first.setdefault(name, record)
        ours, theirs = (tuple(image.name for image in its.images) for its in pair)
        if ours != theirs:
            raise RunError(
                f"{name}: the record of {label} is of other images than the first one's "
                f"({len(ours)} and {len(theirs)}); measure all on the same"
            )
        ours, theirs = (its.timed_images for its in pair)
        if ours != theirs:
            raise RunError(
                f"{name}: {label} was timed on {len(ours)} of its images, {pair[1].model.label} on {len(theirs)} that "
                "are not the same; time them in one command, by one --preset"
            )


def _place(record: Record) -> str:
    """Return what computed; of several GPUs of one name, which."""
    machine, device = record.environment.machine, record.settings.device
    return f"{machine}, {device}" if ":" in device else machine


def _settings(record: Record) -> str:
    settings = record.settings
    tiles = f"tiles of {settings.tile}, overlap {settings.tile_overlap}" if settings.tile else "whole images"
    return f"{settings.engine}, {settings.precision}, {settings.memory_format}, {tiles}, runs averaged: {settings.runs}"


def _why_unpaired(rows: Sequence[Sequence[Record]], protocol: str) -> str:
    """Return why models' times cannot be compared in pairs, as those of one group a set can; else nothing."""
    if any(record.timing is None for its in rows for record in its):
        return f"Protocol {protocol}: nothing is paired, so ranks have no intervals; see --protocol steady"
    groups = [{record.timing.group for record in column} for column in zip(*rows, strict=True)]
    if not all(len(group) == 1 for group in groups):
        return "Models were timed in separate runs, so ranks have no intervals; time them in one command"
    kept = min(int((~np.isnan(_samples(record))).sum()) for its in rows for record in its)
    if kept < LEAST_RUNTIMES:
        return f"Only {counted(kept, 'undisturbed sample')} of a model and set, too few for intervals of ranks"
    return ""


def _entry(records: Sequence[Record], roles: Mapping[str, str | None], together: bool) -> Entry:
    """Make the entry of one model's records, one a set."""
    first, model = records[0], records[0].model
    runtimes = [ms for record in records if (ms := record.mean("runtime_ms")) is not None]
    wrong = [ms for ms in runtimes if not 0 < ms < math.inf]
    if wrong:
        raise RunError(f"{model.label}: expected a runtime above 0 ms, its record says {wrong[0]}; measure it again")
    parts = {roles[its.dataset.name] or its.dataset.name: its for its in records}
    psnrs = {name: its.mean("psnr_db") for name, its in parts.items()}
    return Entry(
        model.label,
        sum(runtimes) / len(runtimes) if len(runtimes) == len(records) else None,
        # A count of 0 is none: the network keeps its weights where no counter looks.
        flops=first.counts["flops"] or None,
        num_params=first.counts["num_params"] or None,
        activations=first.counts["activations"] or None,
        peak_memory_mib=first.peak_memory_mib or None,
        psnr_db={name: db for name, db in psnrs.items() if db is not None},
        # A set of one's own may be called valid or test, too: it has none of the challenge's images.
        psnr_images={name: its.dataset.num_images if roles[its.dataset.name] else 0 for name, its in parts.items()},
        device=first.environment.machine,
        weights=model.own_weights,
        samples_ms=tuple(map(_samples, records)) if together else None,
    )


def _samples(record: Record) -> np.ndarray:
    return np.array(record.timing.samples_ms if record.timing else (), dtype=float)
