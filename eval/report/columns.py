"""The columns of every table of records: where a figure comes from, and how it is printed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from eval.config import EAGER
from eval.intervals import Interval
from eval.metrics.registry import METRICS, Metric
from eval.records.conditions import conditions_of, is_timed, manner_of, memory_measure
from eval.records.record import ImageResult, Protocol, Record
from eval.report.table import Cell, Figure, Value
from eval.timing.samples import what_disturbed
from eval.words import counted, listed, visible

LABEL = Figure("model", "Model", left=True, of=lambda record: visible(record.model.full_name))
SET = Figure("dataset", "Set", left=True, of=lambda record: record.dataset.name)


def _of(part: str, key: str) -> Callable[[Record], Any]:
    """Return what takes a figure from a part of a record; None where the record lacks that part."""
    return lambda record: getattr(getattr(record, part), key, None)


def _timed_alike(record: Record) -> tuple:
    """Return what times depend on besides model and set: of other conditions, or images, they are other measures."""
    return replace(conditions_of(record), dataset=""), record.timed_images


_cost = partial(Figure, higher_is_better=False)
_time = partial(_cost, unit="ms", decimals=2, measure=_timed_alike)


def _metric(row: Metric) -> Figure:
    better = row.higher_is_better
    return Figure(row.key, row.title, row.unit, row.decimals, 1, better, of=lambda record: record.mean(row.key))


@dataclass(frozen=True)
class RatioFigure(Figure):
    """The ratio of the steady protocol: one text with its interval, three figures in CSV."""

    def cell(self, item: Record) -> Cell:
        """Return the ratio with its interval."""
        ratio = self.of(item)
        if not ratio:
            return Cell(self.text(None))
        interval = Interval(ratio.estimate, ratio.low, ratio.high)
        return Cell(" ".join(interval.texts(1)), ratio.estimate, measure=self.measure and self.measure(item))

    def csv(self, item: Record) -> dict[str, Value]:
        """Return the ratio and both ends of its interval, unrounded, and to which model's runtime it is."""
        ratio = self.of(item)
        parts = {"": "estimate", "_low": "low", "_high": "high", "_to": "baseline"}
        return {f"{self.key}{tail}": ratio and getattr(ratio, part) for tail, part in parts.items()}


STEADY_COLUMNS = (
    _time("p90_ms", "p90", of=_of("timing", "p90_ms")),
    _time("kernels_ms", "GPU alone", of=_of("timing", "kernels_ms")),
    RatioFigure("ratio", "Ratio", "x", 3, 1, False, of=_of("timing", "ratio"), measure=_of("timing", "group")),
)
# Decimals are those of the challenge's own table.
COLUMNS = (
    *map(_metric, METRICS.values()),
    _time("runtime_ms", "Time", of=lambda record: record.mean("runtime_ms")),
    *STEADY_COLUMNS,
    _cost("num_params", "Params", "M", 3, 1e6, of=_of("complexity", "num_params")),
    _cost("flops", "FLOPs", "G", 2, 1e9, of=_of("complexity", "flops")),
    _cost("flops_by_hooks", "FLOPs '22", "G", 2, 1e9, of=_of("complexity", "flops_by_hooks")),
    _cost("activations", "Acts", "M", 2, 1e6, of=_of("complexity", "activations")),
    Figure("num_conv", "Conv", of=_of("complexity", "num_conv")),
    _cost("peak_memory_mib", "Mem", "MiB", 1, of=lambda record: record.peak_memory_mib, measure=memory_measure),
)
# Shown only where a record has them: those for which it keeps no field.
_RARE = {"flops_by_hooks", "kernels_ms", *(its.key for its in METRICS.values())} - ImageResult.model_fields.keys()


def columns_of(records: Sequence[Record]) -> tuple[Figure, ...]:
    """Return the columns that records can fill: without times of the steady protocol none of that."""
    timed = any(record.timing for record in records)
    columns = (its for its in COLUMNS if timed or its not in STEADY_COLUMNS)
    return tuple(its for its in columns if its.key not in _RARE or _is_filled(its, records))


def filled_columns(records: Sequence[Record]) -> tuple[Figure, ...]:
    """Return the columns of which at least one record has the figure."""
    return tuple(its for its in columns_of(records) if _is_filled(its, records))


def _is_filled(figure: Figure, records: Sequence[Record]) -> bool:
    return any(figure.of(record) is not None for record in records)


def _grouped(pairs: Iterable[tuple[Any, str]]) -> dict[Any, list[str]]:
    """Return under the first of each pair its second ones, each once."""
    groups: dict[Any, list[str]] = defaultdict(list)
    for key, name in dict.fromkeys(pairs):
        groups[key].append(name)
    return groups


def _engine_notes(records: Sequence[Record]) -> list[str]:
    """Say which engines untimed networks ran by, where not all by plain torch: these have no table of their own."""
    untimed = [its for its in records if its.model.is_network and its.complete and not is_timed(its)]
    models = _grouped((its.settings.engine, visible(its.model.full_name)) for its in untimed)
    if set(models) <= {EAGER}:
        return []
    named = [f"{engine} ({listed(names)})" for engine, names in sorted(models.items())]
    return [f"Engines: {', '.join(named if len(models) > 1 else models)}."]


def legend(records: Iterable[Record]) -> list[str]:
    """Return the sentences that a table of these records needs to be understood."""
    records = list(records)
    lines = _metric_notes(records)
    protocols = {record.settings.protocol for record in records}
    devices = "; ".join(sorted({record.environment.machine for record in records}))
    if Protocol.OFFICIAL in protocols:
        lines.append(f"Time: forward pass only, mean over images, with the cold first image; on {devices}.")
    if Protocol.STEADY in protocols:
        lines.append(
            f"Time: forward pass only, after warm-up; median over rounds, then mean over images; on {devices}."
        )
        lines += _notes_by([its for its in records if its.timing], _part_of)
        lines += _timing_notes(records)
        if any(record.timing and record.timing.kernels_ms for record in records):
            lines += ["GPU alone: time of the GPU's kernels only; Time also contains the CPU's time to launch them."]
        if silent := sorted({its for record in records if record.timing for its in record.timing.unwatched}):
            lines += [f"The GPU did not tell {listed(silent)}, so nothing was dropped for what these would show."]
    manners = sorted({", ".join(manner_of(record)) for record in records} - {""})
    if manners:
        lines.append(f"Settings that are not the default (plain torch in float32): {'; '.join(manners)}.")
    lines += _engine_notes(records)
    lines += _notes_by(records, _tiles_of)
    if any(record.complexity for record in records):
        lines.append("FLOPs are multiply-adds (fvcore); they and Acts are for one 256x256 input.")
    if any(record.complexity and record.complexity.flops_by_hooks for record in records):
        lines.append("FLOPs '22: by the counter of 2022, which counts activation layers, but no functional calls.")
    return [*lines, *_memory_notes(records)]


def _memory_notes(records: Sequence[Record]) -> list[str]:
    """Say how memory was taken; of several ways or devices, of which models, for their figures are not comparable."""
    taken = [its for its in records if its.peak_memory_method]
    ways = _grouped((memory_measure(its), visible(its.model.full_name)) for its in taken)
    if len(ways) == 1:
        return [f"Mem: {method}." for method, _ in ways]
    many = len({device for _, device in ways}) > 1
    return [
        f"Mem of {listed(labels)}, not comparable with others: {method}{f', on {visible(device)}' * many}."
        for (method, device), labels in sorted(ways.items())
    ]


def _metric_notes(records: Sequence[Record]) -> list[str]:
    """Say how each metric that was taken is defined, those of one definition together."""
    taken = {key for record in records for key in record.means}
    titles = _grouped((row.meaning, row.title) for row in METRICS.values() if row.key in taken)
    return [f"{listed(names)}: {meaning}" for meaning, names in titles.items()]


def _notes_by(records: Sequence[Record], what: Callable[[Record], str]) -> list[str]:
    """Return each sentence that is to be said of some records, with their models unless it is said of all."""
    models: dict[str, list[str]] = defaultdict(list)
    for record in records:
        models[what(record)].append(visible(record.model.full_name))
    return [
        said + ("." if len(names) == len(records) else f": {', '.join(names)}.")
        for said, names in models.items()
        if said
    ]


def _tiles_of(record: Record) -> str:
    """Say that figures are of tiles: ``--tile auto`` cuts images where memory was too small for whole ones."""
    tile, overlap = record.settings.tile, record.settings.tile_overlap
    if not tile:
        return ""
    said = f"Images larger than {tile} LR pixels a side ran in tiles of {tile}"
    return said if overlap is None else f"{said} with an overlap of {overlap}"


def _part_of(record: Record) -> str:
    """Say that times are of a part of a set's images alone."""
    return f"Timed on {record.timed_part} of {visible(record.dataset.name)}" if record.timed_part else ""


def _timing_notes(records: Sequence[Record]) -> list[str]:
    """Say what the ratios are to, and what was dropped."""
    timed = [(record, record.timing) for record in records if record.timing]
    notes = []
    if given_back := sorted({record.model.label for record, _ in timed if _gave_memory_back(record)}):
        notes.append(
            f"Freed memory was returned to the system between forwards, so times are longer: {', '.join(given_back)}."
        )
    if baselines := sorted({timing.ratio.baseline for _, timing in timed if timing.ratio}):
        notes.append(f"Ratio: of runtimes to {', '.join(baselines)}, with its 95% interval; paired by image and round.")
    sets: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record, timing in timed:
        sets[record.dataset.name][timing.group].append(record.model.label)
    for name, groups in sets.items():
        if len(groups) > 1:
            runs = "; ".join(", ".join(labels) for labels in groups.values())
            where = f"On {visible(name)} timed" if len(sets) > 1 else "Timed"
            notes.append(f"{where} in {len(groups)} separate runs; ratios compare models of one run only: {runs}.")
    dropped = sum(map(Counter, {timing.group: timing.dropped for _, timing in timed}.values()), Counter())
    if dropped:
        what = f"{counted(dropped.total(), 'measurement')}, each one image on all models"
        notes.append(f"Dropped because other work disturbed them: {what}: {what_disturbed(dropped)}.")
    return notes


def _gave_memory_back(record: Record) -> bool:
    """Tell whether a time holds what the commands save: memory that a forward frees, given back and asked for again."""
    environment = record.environment
    on_linux = environment.gpu is None and environment.platform.startswith("Linux")
    return on_linux and not environment.keeps_freed_memory and not record.model.by_worker


def flag_notes(records: Iterable[Record]) -> list[str]:
    """Return a sentence for each flag of each model."""
    return list(dict.fromkeys(f"{record.model.label}: {flag.text}" for record in records for flag in record.flags))
