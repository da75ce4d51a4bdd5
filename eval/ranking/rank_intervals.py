"""How far an order is settled: which ranks paired runtimes leave open.

Pairwise, each comparison of two models holds at 95% by itself. Simultaneously, all of them hold together at 95%: one
bootstrap over images and rounds draws all models' runtimes alike, and tells by how many standard errors the worst of
all comparisons errs (the largest studentised deviation); so wide is every interval then.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations

import numpy as np

from eval.intervals import CONFIDENCE, Interval, Resampled, resampled
from eval.ranking.editions import Track
from eval.ranking.entries import Entry, weighted_score

# A ratio that varies less is exact but for rounding.
_LEAST_SPREAD = 1e-12
_SAME = Interval(1.0, 1.0, 1.0)


class PairedOrder:
    """Which of two entries surely comes first, by 95% intervals of the ratio of their paired runtimes.

    ``reference`` is the baseline, which need not be among the entries.
    """

    def __init__(self, entries: Sequence[Entry], reference: Entry, simultaneous: bool = False) -> None:
        self._entries = entries
        self._reference = reference
        # The entry whose ratios say where all others lie: the baseline if it is among them.
        self._anchor = next((index for index, entry in enumerate(entries) if entry is reference), 0)
        known = len(entries) > 1 and all(entry.samples_ms is not None for entry in entries)
        self._kinds = [_Ratios(entries)] if known else []
        if known and simultaneous:
            # What holds for all together holds for each pair: no interval is narrower than the pairwise one.
            self._kinds.append(_SimultaneousRatios(self._kinds[0]))

    def intervals(self, track: Track, ranked: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the interval of each entry's rank in a track; empty where paired runtimes do not tell."""
        if not (self._kinds and track.has_intervals):
            return {}
        before, after = Counter[int](), Counter[int]()
        for first, second in permutations(ranked, 2):
            if all(self._is_before(first, second, track, ratios) for ratios in self._kinds):
                before[second] += 1
                after[first] += 1
        return {index: (1 + before[index], len(ranked) - after[index]) for index in ranked}

    def is_open(self, index: int) -> bool:
        """Tell whether paired runtimes leave it open if an entry takes longer than a baseline that is among them."""
        if self._entries[self._anchor] is not self._reference:
            return False
        return any(ratios.of(index, self._anchor).covers(1) for ratios in self._kinds)

    def _is_before(self, first: int, second: int, track: Track, ratios: "_Ratios") -> bool:
        """Tell whether one entry's total is the lesser one wherever in their intervals the runtimes lie.

        A total grows with the runtime. So the order is settled where both intervals say the same at their far ends;
        and open where even the near ends do not. Between these, the other's runtime is t in its interval and this one's
        at most r t, with r the upper end of their ratio's interval. The difference of totals, w exp(2 r t) - w exp(2 t)
        and what does not depend on t, either grows or falls with t: so it is enough to look at both ends.
        """
        mine, other = self._place(first, ratios), self._place(second, ratios)
        if self._total(track, first, mine.low) >= self._total(track, second, other.high):
            return False
        if self._total(track, first, mine.high) < self._total(track, second, other.low):
            return True
        ratio, ends = ratios.of(first, second).high, (other.low, other.high)
        return all(self._total(track, first, ratio * at) < self._total(track, second, at) for at in ends)

    def _total(self, track: Track, index: int, runtime_ratio: float) -> float:
        if track.ranks:
            return runtime_ratio
        return weighted_score(track, self._entries[index], self._reference, runtime_ratio)

    def _place(self, index: int, ratios: "_Ratios") -> Interval:
        """Return an entry's runtime in units of the baseline's."""
        unit = _runtime(self._entries[self._anchor]) / _runtime(self._reference)
        ratio = ratios.of(index, self._anchor)
        return Interval(ratio.estimate * unit, ratio.low * unit, ratio.high * unit)


def _runtime(entry: Entry) -> float:
    return math.nan if entry.runtime_ms is None else entry.runtime_ms


def _drawn(samples_ms: np.ndarray) -> Resampled:
    """Draw from samples as ``resampled`` does; the same ones, as under the rules of several editions, once."""
    return _drawn_of(samples_ms.astype(float).tobytes(), samples_ms.shape)


@lru_cache(maxsize=4)
def _drawn_of(content: bytes, shape: tuple[int, ...]) -> Resampled:
    return resampled(np.frombuffer(content).reshape(shape))


class _Ratios:
    """Ratios of entries' runtimes, each with the 95% interval of its pair."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.runtimes_ms = [_runtime(entry) for entry in entries]
        self.sets = [_drawn(np.stack(its)) for its in zip(*(its.samples_ms or () for its in entries), strict=True)]
        self._known: dict[tuple[int, int], Interval] = {}

    def of(self, a: int, b: int) -> Interval:
        """Return the ratio of two runtimes. That of two sets' mean runtimes lies between the ratios on each set."""
        if a == b:
            return _SAME
        if (b, a) in self._known:
            known = self._known[b, a]
            return Interval(1 / known.estimate, 1 / known.high, 1 / known.low)
        if (a, b) not in self._known:
            found = [self._on(number, a, b) for number in range(len(self.sets))]
            mean = self.runtimes_ms[a] / self.runtimes_ms[b]
            self._known[a, b] = Interval(mean, min(its.low for its in found), max(its.high for its in found))
        return self._known[a, b]

    def _on(self, number: int, a: int, b: int) -> Interval:
        """Return the ratio on one set."""
        return self.sets[number].interval(a, b, np.divide)


class _SimultaneousRatios(_Ratios):
    """The same, with intervals that hold at 95% for all pairs and sets together."""

    def __init__(self, pairwise: _Ratios) -> None:
        self.runtimes_ms, self.sets, self._known = pairwise.runtimes_ms, pairwise.sets, {}
        self._errors = [np.log(its.drawn) - np.log(its.estimates)[:, np.newaxis] for its in self.sets]
        self._worst = worst_error(self._errors)

    def _on(self, number: int, a: int, b: int) -> Interval:
        errors, estimates = self._errors[number], self.sets[number].estimates
        factor = math.exp(self._worst * np.nanstd(errors[a] - errors[b]))
        ratio = float(estimates[a] / estimates[b])
        return Interval(ratio, ratio / factor, ratio * factor)


def worst_error(sets: Sequence[np.ndarray], confidence: float = CONFIDENCE) -> float:
    """Return how many standard errors the worst of all log ratios is off at most, with the given probability.

    Args:
        sets: drawn log runtimes less their estimates, ``(models, resamples)`` a set, the same models on each.
        confidence: that no ratio of any pair on any set is further off.
    """
    worst = np.zeros(sets[0].shape[1])
    for errors in sets:
        for model, its in enumerate(errors[:-1]):
            ratios = its - errors[model + 1 :]
            spread = np.nanstd(ratios, axis=1, keepdims=True)
            studentised = np.abs(ratios) / np.where(spread > _LEAST_SPREAD, spread, np.inf)
            worst = np.maximum(worst, np.maximum.reduce(studentised))
    # One of the drawn ones, never between two of them; a draw of dropped rounds alone says nothing, and is none.
    return float(np.quantile(worst[~np.isnan(worst)], confidence, method="higher"))
