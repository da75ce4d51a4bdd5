"""Scores: a figure against the baseline's, and a track's weighted sum of them."""

import math

from eval.ranking.editions import Track
from eval.ranking.entries import Entry


def relative_score(figure: float, baseline: float) -> float:
    """Return exp(2 figure / baseline), e² = 7.3891 at the baseline; ``inf`` where that exceeds a float."""
    try:
        return math.exp(2 * figure / baseline)
    except OverflowError:
        return math.inf


def weighted_score(track: Track, entry: Entry, reference: Entry, runtime_ratio: float | None = None) -> float:
    """Return a track's total of scores, at the entry's runtime or at another ratio to the baseline's."""
    total = 0.0
    for metric, weight in track.weights.items():
        if metric == "runtime_ms" and runtime_ratio is not None:
            total += weight * relative_score(runtime_ratio, 1)
        else:
            total += weight * relative_score(getattr(entry, metric), getattr(reference, metric))
    return total
