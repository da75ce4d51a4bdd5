"""The columns of every table: where a figure comes from, its unit, and to how many digits it is printed."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from eval.metrics.registry import METRICS, Metric
from eval.records.current import manner_of
from eval.records.record import Protocol, Record, State
from eval.timing.interference import what_disturbed


@dataclass(frozen=True)
class Column:
    """One column.

    ``decimals`` are those of the challenge's own table; ``scale`` divides before printing; ``higher_is_better`` is
    None where a figure only describes.
    """

    key: str
    title: str
    unit: str
    decimals: int
    value: Callable[[Record], float | int | None]
    scale: float = 1
    higher_is_better: bool | None = False

    @property
    def heading(self) -> str:
        """Title and unit in one line."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def text(self, record: Record) -> str:
        """Return the rounded figure, or a dash where it was not taken."""
        return self.rounded(self.value(record))

    def rounded(self, value: float | None) -> str:
        """Return a figure in the column's unit and decimals, or a dash for None."""
        return "-" if value is None else f"{value / self.scale:.{self.decimals}f}"

    def figures(self, record: Record) -> dict[str, float | int | None]:
        """Return the unrounded figures, in base units, under their names in CSV."""
        return {self.key: self.value(record)}


def _complexity(key: str) -> Callable[[Record], int | None]:
    return lambda record: getattr(record.complexity, key) if record.complexity else None


def _metric(row: Metric) -> Column:
    better = row.higher_is_better
    return Column(row.key, row.title, row.unit, row.decimals, lambda record: record.mean(row.key), 1, better)


COLUMNS = (
    *map(_metric, METRICS.values()),
    Column("runtime_ms", "Time", "ms", 2, lambda record: record.mean("runtime_ms")),
    Column("num_params", "Params", "M", 3, _complexity("num_params"), 1e6),
    Column("flops", "FLOPs", "G", 2, _complexity("flops"), 1e9),
    Column("flops_by_hooks", "FLOPs '22", "G", 2, _complexity("flops_by_hooks"), 1e9),
    Column("activations", "Acts", "M", 2, _complexity("activations"), 1e6),
    Column("num_conv", "Conv", "", 0, _complexity("num_conv"), higher_is_better=None),
    Column("peak_memory_mib", "Mem", "MiB", 1, lambda record: record.peak_memory_mib),
)


# Shown only where a record has them.
_RARE = {"flops_by_hooks", *(row.key for row in METRICS.values())} - {"psnr_db", "ssim"}


@dataclass(frozen=True)
class RatioColumn(Column):
    """The ratio of the steady protocol: one text with its interval, three figures in CSV."""

    def text(self, record: Record) -> str:
        """Return the ratio and its interval, rounded."""
        ratio = record.timing and record.timing.ratio
        if not ratio:
            return "-"
        low, high = f"{ratio.low:.{self.decimals}f}", f"{ratio.high:.{self.decimals}f}"
        return f"{ratio.estimate:.{self.decimals}f} [{low}, {high}]"

    def figures(self, record: Record) -> dict[str, float | int | None]:
        """Return the ratio and both ends of its interval, unrounded."""
        ratio = record.timing and record.timing.ratio
        parts = {"": "estimate", "_low": "low", "_high": "high"}
        return {f"{self.key}{tail}": ratio and getattr(ratio, part) for tail, part in parts.items()}


STEADY_COLUMNS = (
    Column("p90_ms", "p90", "ms", 2, lambda record: record.timing and record.timing.p90_ms),
    RatioColumn("ratio", "Ratio", "x", 3, lambda record: record.timing and record.timing.ratio),
)


def columns_of(records: Sequence[Record]) -> tuple[Column, ...]:
    """Return the columns that records fill: those of the steady protocol stand behind the time."""
    rare = [column for column in COLUMNS if column.key in _RARE and all(column.value(row) is None for row in records)]
    columns = tuple(column for column in COLUMNS if column not in rare)
    if not any(record.timing for record in records):
        return columns
    place = next(index for index, column in enumerate(columns) if column.key == "runtime_ms") + 1
    return (*columns[:place], *STEADY_COLUMNS, *columns[place:])


def legend(records: Iterable[Record]) -> list[str]:
    """Return the sentences that a table of these records needs to be understood."""
    records = list(records)
    lines = _metric_notes(records)
    protocols = {record.settings.protocol for record in records}
    if Protocol.OFFICIAL in protocols:
        devices = sorted({record.environment.machine for record in records})
        lines.append(f"Time: the network alone, mean over images, cold first image included; on {'; '.join(devices)}.")
    if Protocol.STEADY in protocols:
        devices = sorted({record.environment.machine for record in records})
        lines.append(
            f"Time: the network alone, warm, mean over images of the median over rounds; on {'; '.join(devices)}."
        )
        lines += _timing_notes(records)
    manners = sorted({", ".join(manner_of(record)) for record in records} - {""})
    if manners:
        lines.append(f"Networks ran otherwise than as plain torch in float32: {'; '.join(manners)}.")
    if any(record.complexity for record in records):
        lines.append("FLOPs are multiply-adds (fvcore); they and Acts are for one 256x256 input.")
    if any(record.complexity and record.complexity.flops_by_hooks for record in records):
        lines.append("FLOPs '22: by the counter of 2022, which counts activations and overlooks functions.")
    methods = sorted({record.peak_memory_method for record in records if record.peak_memory_method})
    lines += [f"Mem: {method}." for method in methods]
    return lines


def _metric_notes(records: Sequence[Record]) -> list[str]:
    """Say how each metric that was taken is defined, those of one definition together."""
    taken = {key for record in records for key in record.means}
    titles: dict[str, list[str]] = {}
    for row in METRICS.values():
        if row.key in taken:
            titles.setdefault(row.meaning, []).append(row.title)
    return [f"{' and '.join(names)}: {meaning}" for meaning, names in titles.items()]


def _timing_notes(records: Sequence[Record]) -> list[str]:
    """Say what the ratios are to, and what was dropped."""
    timings = [record.timing for record in records if record.timing]
    baselines = sorted({timing.ratio.baseline for timing in timings if timing.ratio})
    notes = []
    if baselines:
        notes.append(f"Ratio: of runtimes to {', '.join(baselines)}, with its 95% interval; paired by image and round.")
    groups = {timing.group: [] for timing in timings}
    for record in records:
        if record.timing:
            groups[record.timing.group].append(record.model.label)
    if len(groups) > 1:
        runs = "; ".join(", ".join(labels) for labels in groups.values())
        notes.append(f"Timed in {len(groups)} separate runs; ratios compare models of one run only: {runs}.")
    dropped = sum(map(Counter, {timing.group: timing.dropped for timing in timings}.values()), Counter())
    if dropped:
        what = f"{dropped.total()} disturbed stretch(es), an image through all models each, were dropped"
        notes.append(f"{what}: {what_disturbed(dropped)}.")
    return notes


def flag_notes(records: Iterable[Record]) -> list[str]:
    """Return a sentence for each flag of each model."""
    return list(dict.fromkeys(f"{record.model.label}: {flag.text}" for record in records for flag in record.flags))


def outcome(record: Record) -> str:
    """Return what became of a record that is not complete, and why, on one line."""
    what = record.status if record.state is State.RAN else record.state.value
    reason = str(record.reason)
    return reason if reason.startswith(what) else f"{what}: {reason}"


def visible(text: str) -> str:
    """Return a name with everything written out that would not print: control characters, marks of direction."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text.replace("\\", "\\\\"))
