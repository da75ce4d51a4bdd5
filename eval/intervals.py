"""Intervals for paired samples: two models on the same images in the same rounds.

Images differ far more from each other than models do, and a machine drifts from round to round. Both cancel when
models are compared image by image and round by round, and both are resampled together.
"""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
# The differences of fewer samples have one sign by chance in more than a twentieth of all cases: of five in 2/32.
LEAST_SAMPLES = 6
# Of runtimes, whose rounds are resampled, too: a bootstrap over fewer would take its ignorance for certainty.
LEAST_RUNTIMES = 10
RESAMPLES = 1000
# Who looks again and again whether an order is settled finds some day what is not there. So there are at most so many
# looks, and each has its part of the twentieth of cases in which all of them together may be wrong.
LOOKS = 10
_MOST_DECIMALS = 9


@dataclass(frozen=True)
class Interval:
    """An estimate and its bootstrap interval."""

    estimate: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Tell whether a value lies in the interval, ends included."""
        return self.low <= value <= self.high

    @property
    def relative_half_width(self) -> float:
        """Half of the interval's length as a part of the estimate."""
        return (self.high - self.low) / 2 / abs(self.estimate)

    def decimals(self, value: float, least: int) -> int:
        """Return with how many decimals, ``least`` or more, an interval that does not hold a value shows it."""
        if self.covers(value):
            return least
        near = min((self.low, self.high), key=lambda end: abs(end - value))
        return next((digits for digits in range(least, _MOST_DECIMALS) if round(near - value, digits)), _MOST_DECIMALS)

    def texts(self, value: float, sign: str = "") -> tuple[str, str]:
        """Return the estimate and both ends with three decimals, or as many as show that a value lies outside.

        Of an unbounded interval it is said that samples were too few.
        """
        digits = self.decimals(value, 3)
        estimate, low, high = (_text(each, sign, digits) for each in (self.estimate, self.low, self.high))
        return estimate, f"[{low}, {high}]" if math.isfinite(self.high) else "(too few samples)"

    def widened(self, factor: float) -> "Interval":
        """Return the interval of a difference with its ends so many times as far from the estimate."""
        low, high = (self.estimate + (end - self.estimate) * factor for end in (self.low, self.high))
        return Interval(self.estimate, low, high)

    def widened_ratio(self, factor: float) -> "Interval":
        """Return the interval of a ratio with the logarithms of its ends so much farther, alike for its inverse."""
        low, high = (self.estimate * (end / self.estimate) ** factor for end in (self.low, self.high))
        return Interval(self.estimate, low, high)


@dataclass(frozen=True)
class Resampled:
    """Centres of several models: the mean over images of the median over rounds.

    Attributes:
        estimates: of the samples themselves, ``(models,)``.
        drawn: of bootstrap samples, ``(models, resamples)``.
        kept: how many samples each model has.
        rounds: in how many rounds.
    """

    estimates: np.ndarray
    drawn: np.ndarray
    kept: int
    rounds: int

    def interval(self, model: int, other: int, compare: np.ufunc, confidence: float = CONFIDENCE) -> Interval:
        """Return how two models compare, with the interval of this pair by itself.

        It is unbounded for fewer samples than ``least_kept``. With one sample an image it is widened by ``narrowness``.
        """
        estimate = float(compare(self.estimates[model], self.estimates[other]))
        if self.kept < least_kept(self.rounds):
            return Interval(estimate, -math.inf, math.inf)
        tail = (1 - confidence) / 2
        low, high = np.nanquantile(compare(self.drawn[model], self.drawn[other]), (tail, 1 - tail))
        found = Interval(estimate, float(low), float(high))
        if self.rounds > 1:
            return found
        widen = found.widened_ratio if compare is np.divide else found.widened
        return widen(narrowness(self.kept, confidence))


def signed(value: float, decimals: int = 3) -> str:
    """Return a difference with its sign, which 0 has none of."""
    return _text(value, "+", decimals)


def _text(value: float, sign: str, decimals: int) -> str:
    text = f"{value:{sign}.{decimals}f}"
    return text if float(text) else f"{0:.{decimals}f}"


def least_kept(rounds: int) -> int:
    """Return how many samples an interval takes."""
    return LEAST_SAMPLES if rounds == 1 else LEAST_RUNTIMES


@lru_cache
def narrowness(samples: int, confidence: float = CONFIDENCE) -> float:
    """Return how many times too narrow the bootstrap's interval of a mean is for few samples.

    Samples spread less than what they are drawn from, by sqrt(1 - 1/n) on average, and how much is uncertain itself,
    which Student's t allows for (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015). Its quantile is
    that of the normal distribution and a series in 1/(n - 1) (Abramowitz and Stegun, 26.7.5).
    """
    z, freedom = NormalDist().inv_cdf((1 + confidence) / 2), samples - 1
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    t = z + sum(term / freedom**power for power, term in enumerate(terms, 1))
    return t / z * math.sqrt(samples / freedom)


def paired_ratio(model: np.ndarray, baseline: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return how many times a model's runtime is the baseline's, with its 95% interval.

    The interval is unbounded for fewer samples than ``least_kept``.

    The runtime of a model is the mean over images of its median over rounds, so that single disturbed samples do
    not count. Images and rounds are resampled with replacement, the same ones for both models.

    Args:
        model: runtimes ``(images, rounds)``, any unit; NaN where a sample was dropped.
        baseline: the baseline's, of the same images and rounds.
        seed: of the resampling.
        resamples: number of bootstrap resamples.

    Raises:
        ValueError: shapes differ, or no image has a sample of both models in any round.
    """
    return _paired(model, baseline, np.divide, (seed, resamples))


def paired_difference(model: np.ndarray, baseline: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return a model's mean less the baseline's, with its 95% interval; arguments as ``paired_ratio``.

    The interval is unbounded for fewer samples than ``least_kept``.
    """
    return _paired(model, baseline, np.subtract, (seed, resamples))


def _paired(model: np.ndarray, baseline: np.ndarray, compare: np.ufunc, resampling: tuple[int, int]) -> Interval:
    shapes = np.shape(model), np.shape(baseline)
    if shapes[0] != shapes[1] or len(shapes[0]) != 2:
        raise ValueError(f"expected two arrays (images, rounds) of one shape, got {shapes[0]} and {shapes[1]}")
    return resampled(np.stack((model, baseline)), *resampling).interval(0, 1, compare)


def resampled(samples: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Resampled:
    """Draw images and rounds with replacement, the same ones for all models.

    Args:
        samples: ``(models, images, rounds)``; NaN where a sample was dropped. One that a model lacks counts for none.
        seed: of the resampling.
        resamples: number of bootstrap resamples.

    Raises:
        ValueError: no image has a sample of all models in any round.
    """
    samples = np.array(samples, dtype=float)
    samples[:, np.isnan(samples).any(axis=0)] = np.nan
    samples = samples[:, ~np.isnan(samples[0]).all(axis=1)]
    if samples.shape[1] == 0:
        raise ValueError("no image has a sample of both models in the same round")
    draw = _draw_means if samples.shape[2] == 1 else _draw_medians
    kept = int((~np.isnan(samples[0])).sum())
    return Resampled(_means(_medians(samples)), draw(samples, seed, resamples), kept, samples.shape[2])


def open_pairs(samples_ms: np.ndarray, places: int, resamples: int = RESAMPLES) -> list[tuple[int, int]]:
    """Return the pairs of models, the faster one first, whose order is not settled.

    Each pair by itself is wrong in 1/20 of cases, over all looks of a run together: by Bonferroni's inequality in 1/200
    at this one.

    Args:
        samples_ms: ``(models, images, rounds)``, paired; NaN where a sample was dropped.
        places: so many first places are asked about; pairs of models behind them are none of it.
        resamples: number of bootstrap resamples.
    """
    if np.isnan(samples_ms).any(axis=0).all():
        return list(combinations(range(len(samples_ms)), 2))
    drawn = resampled(samples_ms, resamples=resamples)
    order = np.argsort(drawn.estimates, kind="stable").tolist()
    pairs = [(first, second) for place, first in enumerate(order[:places]) for second in order[place + 1 :]]
    confidence = 1 - (1 - CONFIDENCE) / LOOKS
    return [(fast, slow) for fast, slow in pairs if drawn.interval(slow, fast, np.divide, confidence).low <= 1]


def _draw_means(samples: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Return the resampled means of ``(models, images, 1)``: with one round there are only images to draw."""
    return samples[:, :, 0] @ _times_drawn(samples.shape[1], seed, resamples) / samples.shape[1]


@lru_cache(maxsize=4)
def _times_drawn(images: int, seed: int, resamples: int) -> np.ndarray:
    """Return how often each image is drawn in each resample; kept, for a table compares many models on one set."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples).T


def _draw_medians(samples: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Return the resampled centres of ``(models, images, rounds)``, ``(models, resamples)``."""
    models, images, rounds = samples.shape
    random, drawn = np.random.default_rng(seed), np.empty((models, resamples))
    for index in range(resamples):
        chosen_images = random.integers(images, size=images)
        chosen_rounds = random.integers(rounds, size=rounds)
        # Taken in the order of memory: a sort of what indexing gives takes ten times as long.
        drawn[:, index] = _means(_medians(np.take(samples, chosen_rounds, axis=2))[:, chosen_images])
    return drawn


def _means(medians: np.ndarray) -> np.ndarray:
    """Return the mean over images of ``(models, images)``."""
    with warnings.catch_warnings():
        # An image can have lost all of the rounds that a resample chose; it does not count there.
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.nanmean(medians, axis=1)


def _medians(samples: np.ndarray) -> np.ndarray:
    """Return the median along the last axis of what is no NaN; NaN where nothing is.

    numpy's own takes eight times as long where there are NaNs, and this is where a ranking spends its time.
    """
    ordered = np.sort(samples, axis=-1)
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    low, high = (np.take_along_axis(ordered, np.maximum(place, 0), axis=-1) for place in ((count - 1) // 2, count // 2))
    # Without a sample both are the first of NaNs.
    return ((low + high) / 2)[..., 0]
