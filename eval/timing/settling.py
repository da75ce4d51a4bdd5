"""Which places by time are settled: whose intervals of paired ratios leave no other order."""

import numpy as np

from eval.intervals import LEAST_TIMES, RESAMPLES, resampled


def open_pairs(samples_ms: np.ndarray, places: int, resamples: int = RESAMPLES) -> list[tuple[int, int]]:
    """Return the pairs of models, the faster one first, whose order is not settled at 95%, each pair by itself.

    Args:
        samples_ms: ``(models, images, rounds)``, paired; NaN where a sample was dropped.
        places: so many first places are asked about; pairs of models behind them are none of it.
        resamples: number of bootstrap resamples.
    """
    if np.isnan(samples_ms).any(axis=0).all():
        models = range(len(samples_ms))
        return [(first, second) for first in models for second in models if first < second]
    drawn = resampled(samples_ms, resamples=resamples)
    order = np.argsort(drawn.estimates, kind="stable").tolist()
    pairs = [(first, second) for place, first in enumerate(order[:places]) for second in order[place + 1 :]]

    def ratio(slower: np.ndarray, faster: np.ndarray) -> np.ndarray:
        return slower / faster

    return [(first, second) for first, second in pairs if drawn.interval(second, first, ratio, LEAST_TIMES).low <= 1]
