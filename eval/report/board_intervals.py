"""The intervals of a table's figures: of runtimes as they were timed, of PSNR paired with the baseline's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.intervals import Interval as Estimate
from eval.intervals import resampled
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


class PairedPsnr:
    """How far apart models of a table are in PSNR, image by image.

    Models that lack an image of the first one's, or reproduce one exactly, are not compared.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        by_place = {place: record.psnrs_db for place, record in enumerate(records) if record.complete}
        names = next(iter(by_place.values()), {}).keys()
        known = {place: its for place, its in by_place.items() if names and its.keys() == names}
        known = {place: its for place, its in known.items() if all(map(math.isfinite, its.values()))}
        self._places = {place: index for index, place in enumerate(known)}
        samples = np.array([[its[name] for name in names] for its in known.values()], dtype=float)
        self.images = len(names)
        self._drawn = resampled(samples[:, :, None]) if len(known) else None

    def difference(self, model: int, other: int) -> Estimate | None:
        """Return a model's mean PSNR less another's in dB, both by their place in the table; None if not compared."""
        if self._drawn is None or not {model, other} <= self._places.keys():
            return None
        places = self._places[model], self._places[other]
        return self._drawn.interval(*places, np.subtract)


def psnr_intervals(records: Sequence[Record], baseline: int | None, paired: PairedPsnr) -> list[Interval | None]:
    """Return the interval of each model's PSNR in dB: the baseline's mean, and how far from it the model is."""

    def bounds(place: int) -> Interval | None:
        its = None if baseline in (None, place) else paired.difference(place, baseline)
        middle = records[baseline].mean("psnr_db") if its and baseline is not None else None
        if its is None or middle is None or not math.isfinite(its.high):
            return None
        text = f"{its.estimate:+.3f} dB [{its.low:+.3f}, {its.high:+.3f}] to {records[baseline or 0].model.label}"
        return Interval(middle + its.low, middle + its.estimate, middle + its.high, text, its.covers(0))

    return _placed([bounds(place) for place in range(len(records))])


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
    known = [its for its in bounds if its]
    if not known:
        return [None] * len(bounds)
    least = min(its.low for its in known)
    width = max(its.high for its in known) - least or 1.0

    def place(value: float) -> float:
        return round(100 * (value - least) / width, 2)

    return [its and replace(its, places=(place(its.low), place(its.middle), place(its.high))) for its in bounds]
