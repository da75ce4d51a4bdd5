"""The intervals of a table's figures: of runtimes as they were timed, of PSNR paired with the baseline's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from eval.ranking.comparison import psnr_between
from eval.records.record import Record


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval, and where they lie between 0 and 100 across the column.

    Attributes:
        tied: whether it says that the figure may be the baseline's; only of what is paired with it.
    """

    low: float
    middle: float
    high: float
    text: str
    tied: bool = False
    places: tuple[float, float, float] = (0.0, 0.0, 0.0)


def psnr_intervals(records: Sequence[Record], baseline: int | None) -> list[Interval | None]:
    """Return the interval of each model's PSNR in dB: the baseline's mean, and how far from it the model is."""
    base = None if baseline is None else records[baseline]

    def bounds(record: Record) -> Interval | None:
        if base is None or record is base:
            return None
        its, middle = psnr_between(record, base), base.mean("psnr_db")
        if its is None or middle is None or not math.isfinite(its.high):
            return None
        difference, ends = its.texts(0, "+")
        text = f"{difference} dB {ends} to {base.model.label}"
        return Interval(middle + its.low, middle + its.estimate, middle + its.high, text, its.covers(0))

    return _placed([bounds(record) for record in records])


def runtime_intervals(records: Sequence[Record]) -> list[Interval | None]:
    """Return each runtime's interval in ms: its ratio's, at the baseline's runtime as measured; that has none."""

    def bounds(record: Record) -> Interval | None:
        ratio, runtime = record.timing and record.timing.ratio, record.mean("runtime_ms")
        if not ratio or not runtime or not math.isfinite(ratio.high) or ratio.low == ratio.high:
            return None
        base_ms = runtime / ratio.estimate
        low, high = base_ms * ratio.low, base_ms * ratio.high
        return Interval(low, runtime, high, f"{low:.2f} to {high:.2f} ms, if {ratio.baseline} takes {base_ms:.2f} ms")

    return _placed([bounds(record) for record in records])


def _placed(bounds: Sequence[Interval | None]) -> list[Interval | None]:
    """Return the intervals with their places across the column."""
    least = min((its.low for its in bounds if its), default=0.0)
    width = max((its.high for its in bounds if its), default=0.0) - least or 1.0

    def place(value: float) -> float:
        return round(100 * (value - least) / width, 2)

    return [its and replace(its, places=(place(its.low), place(its.middle), place(its.high))) for its in bounds]
