"""Ranges of ranks, each pair by itself and all together: by hand, by an independent count, and by simulation."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from eval.intervals import Interval, resampled
from eval.ranking.editions import find_edition
from eval.ranking.entries import Entry, published_baseline
from eval.ranking.rank_intervals import PairedOrder, _Ratios, _SimultaneousRatios, worst_error
from eval.ranking.scoring import rank

RULES = find_edition(2024)
BASE = published_baseline(RULES)
RUNTIME = RULES.tracks[1]


def entries_of(*sets: np.ndarray) -> list[Entry]:
    """Return one entry a model of ``(models, images, rounds)`` samples of each set, alike but for their times."""
    return [
        Entry(
            f"{index:02}_M",
            float(np.mean([np.median(samples, axis=1).mean() for samples in its])),
            flops=1e9,
            num_params=1e5,
            samples_ms=its,
        )
        for index, its in enumerate(zip(*sets, strict=True))
    ]


def samples(random: np.random.Generator, models: int, images: int = 60, rounds: int = 1) -> np.ndarray:
    """Return times of models that are equal but for chance: each has a way of its own with each image."""
    sizes = random.uniform(5, 20, (1, images, 1))
    return sizes * np.exp(random.normal(0, 0.05, (models, images, rounds)))


def ranges(entries: Sequence[Entry], simultaneous: bool, track: int = 1) -> list[tuple[int, int]]:
    found = rank(entries, RULES, BASE, simultaneous=simultaneous)
    by_label = {row.entry.label: row.places[RULES.tracks[track].name].interval for row in found.rows}
    return [by_label[entry.label] for entry in entries]


def at_most(probability: float, trials: int, chance: float) -> int:
    """Return the least count that so many trials exceed with less than ``chance``, by exact binomials."""
    exceeded, count = 1.0, -1
    while exceeded >= chance:
        count += 1
        exceeded -= math.comb(trials, count) * probability**count * (1 - probability) ** (trials - count)
    return count


def test_ranges_of_equal_models_hold_together_at_95_percent_and_pairwise_ones_do_not():
    trials, models = 120, 8
    wrong = {True: 0, False: 0}
    random = np.random.default_rng(11)
    for _ in range(trials):
        entries = entries_of(samples(random, models))
        for simultaneous in wrong:
            # Equal models share all ranks: whoever settles any of them is wrong.
            wrong[simultaneous] += ranges(entries, simultaneous) != [(1, models)] * models
    most = at_most(0.05, trials, 1e-3)
    assert wrong[True] <= most < 30 <= wrong[False]


def test_models_in_order_are_within_their_ranges_together():
    """Neighbours 1% apart among 6: the true rank of each lies in its range, in at least 95% of trials for all."""
    random = np.random.default_rng(3)
    factors = 1.01 ** np.arange(6)
    missed, narrower, settled, trials = 0, 0, 0, 60
    for _ in range(trials):
        entries = entries_of(samples(random, 6) * factors[:, None, None])
        together, pairwise = ranges(entries, True), ranges(entries, False)
        missed += not all(first <= place <= last for place, (first, last) in enumerate(together, 1))
        narrower += any(mine[0] > its[0] or mine[1] < its[1] for mine, its in zip(together, pairwise, strict=True))
        settled += together != [(1, 6)] * 6
    assert missed <= at_most(0.05, trials, 1e-3)
    assert narrower == 0
    # They are no excuse to say nothing: models 5% apart are told from each other.
    assert settled > trials / 2


def test_a_pair_that_holds_alone_does_not_hold_among_many():
    random = np.random.default_rng(5)
    times = samples(random, 12, images=40)
    # The last one is faster by 2.4 standard errors of a pair: enough for a pair, not for the worst of 66.
    noise = np.sqrt(2) * 0.05 / np.sqrt(40)
    times[11] = times[0] * np.exp(random.normal(0, 0.05 * np.sqrt(2), (40, 1)) - 2.9 * noise)
    alone, among = entries_of(times[[0, 11]]), entries_of(times)
    assert ranges(alone, True) == ranges(alone, False) == [(2, 2), (1, 1)]
    pairwise, together = ranges(among, False), ranges(among, True)
    assert pairwise[11][1] < together[11][1]
    assert together[0][0] == 1


def test_clear_orders_are_settled_in_both_kinds():
    times = samples(np.random.default_rng(0), 4, rounds=5) * np.array([1.0, 1.3, 1.3, 2.0])[:, None, None]
    for simultaneous in (True, False):
        assert ranges(entries_of(times), simultaneous) == [(1, 1), (2, 3), (2, 3), (4, 4)]
        # The main track weighs what is equal beside it.
        assert ranges(entries_of(times), simultaneous, track=0) == [(1, 1), (2, 3), (2, 3), (4, 4)]


def test_a_ratio_that_never_varies_is_exact_and_widens_no_other():
    times = samples(np.random.default_rng(1), 3, rounds=4)
    times[1] = 1.001 * times[0]
    ratios = _SimultaneousRatios(_Ratios(entries_of(times)))
    exact = ratios.of(1, 0)
    assert (exact.estimate, exact.low, exact.high) == pytest.approx((1.001,) * 3, rel=1e-12)
    first, second, _ = ranges(entries_of(times), True)
    assert first[1] <= 2 <= second[0]
    assert 1.9 < worst_error(ratios._errors) < 2.5


def test_the_worst_error_by_hand():
    # One pair, off by -2, -1, 0, 1 and 2: their standard error is the root of 2. Of five, the greatest is at 95%.
    errors = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0], [0.0] * 5])
    assert worst_error([errors]) == pytest.approx(2 / math.sqrt(2))
    # At 40% three of them are no further off: 0, 1 and 1.
    assert worst_error([errors], 0.4) == pytest.approx(1 / math.sqrt(2))
    # A second set, of which the same draw is off by three of its standard errors.
    second = np.array([[0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 5.0]])
    assert worst_error([errors, second]) == pytest.approx(2.5)
    # What a draw without samples does not say does not count for "no error".
    unknown = np.full((2, 5), np.nan)
    assert worst_error([np.hstack((errors, unknown))], 0.4) == pytest.approx(1 / math.sqrt(2))


def test_the_worst_error_by_another_count():
    random = np.random.default_rng(8)
    sets = [random.normal(size=(5, 200)), 3 * random.normal(size=(5, 200))]
    pairs = [errors[a] - errors[b] for errors in sets for a in range(5) for b in range(a)]
    errors = [math.sqrt(sum((x - pair.mean()) ** 2 for x in pair) / 200) for pair in pairs]
    worst = [max(abs(pair[draw]) / error for pair, error in zip(pairs, errors, strict=True)) for draw in range(200)]
    # Of 200 the 191st is the first that 95% of the 199 steps between them have passed.
    assert worst_error(sets) == pytest.approx(sorted(worst)[190], rel=1e-12)


def test_simultaneous_ratios_are_so_many_standard_errors_wide():
    times = samples(np.random.default_rng(4), 3, rounds=3)
    pairwise = _Ratios(entries_of(times))
    together = _SimultaneousRatios(pairwise)
    drawn = resampled(times)
    ratios = np.log(drawn.drawn[2] / drawn.drawn[0])
    ratio = together.of(2, 0)
    assert ratio.estimate == pytest.approx(drawn.estimates[2] / drawn.estimates[0])
    wide = worst_error(together._errors) * ratios.std()
    assert math.log(ratio.high / ratio.estimate) == pytest.approx(wide)
    assert math.log(ratio.estimate / ratio.low) == pytest.approx(wide)
    assert ratio.low < pairwise.of(2, 0).low < pairwise.of(2, 0).high < ratio.high
    back = together.of(0, 2)
    assert (back.low, back.high) == pytest.approx((1 / ratio.high, 1 / ratio.low))


def test_two_sets_are_drawn_alike_for_all_models_and_the_wider_ratio_counts():
    random = np.random.default_rng(9)
    valid, test = samples(random, 3, rounds=3), 1.5 * samples(random, 3, images=30, rounds=3)
    entries = entries_of(valid, test)
    for kind in (_Ratios(entries), _SimultaneousRatios(_Ratios(entries))):
        found = kind.of(0, 1)
        parts = [kind._on(0, 0, 1), kind._on(1, 0, 1)]
        assert (found.low, found.high) == (min(its.low for its in parts), max(its.high for its in parts))
        assert found.estimate == entries[0].runtime_ms / entries[1].runtime_ms


def test_one_bootstrap_of_all_models_gives_the_interval_of_each_pair():
    random = np.random.default_rng(6)
    times = samples(random, 3, images=30, rounds=7)
    times[:, random.random(times.shape[1:]) < 0.1] = np.nan
    together = resampled(times)
    for a, b in product(range(3), repeat=2):
        assert together.interval(a, b, np.divide) == resampled(times[[a, b]]).interval(0, 1, np.divide)


def test_without_paired_samples_there_are_no_ranges():
    entries = entries_of(samples(np.random.default_rng(0), 2))
    order = PairedOrder([entries[0], replace(entries[1], samples_ms=None)], BASE, simultaneous=True)
    assert order.intervals(RUNTIME, [0, 1]) == {}
    assert PairedOrder(entries[:1], BASE, simultaneous=True).intervals(RUNTIME, [0]) == {}
    assert PairedOrder(entries, BASE).intervals(RULES.tracks[2], [0, 1]) == {}


class Known:
    """Ratios of two entries that are given: levels of both against the first one's unit, and of one to the other."""

    def __init__(self, levels: Sequence[tuple[float, float]], ratio: tuple[float, float]) -> None:
        self.levels, self.ratio = levels, ratio

    def of(self, a: int, b: int) -> Interval:
        low, high = self.levels[a] if b == 2 else self.ratio if (a, b) == (0, 1) else (1e-3, 1e3)
        return Interval(1.0, low, high)


@pytest.mark.parametrize(
    ("levels", "ratio", "worth", "is_before"),
    [
        # One that takes up to 1.1 times as long needs 0.7 (exp(2.2 x) - exp(2 x)) in other scores: 0.60 at 0.8 of the
        # baseline's time, and 2.09 at 1.2 of it.
        (((0.7, 1.3), (0.8, 1.2)), (0.9, 1.1), 2.2, True),
        (((0.7, 1.3), (0.8, 1.2)), (0.9, 1.1), 1.0, False),
        # One that takes at most 0.9 of the other's time gains 0.51 at 0.8 and 1.64 at 1.2.
        (((0.7, 1.3), (0.8, 1.2)), (0.8, 0.9), -0.5, True),
        (((0.7, 1.3), (0.8, 1.2)), (0.8, 0.9), -0.6, False),
        # Apart at every level, whatever their ratio is said to be: 0.7 exp(2) is less than 0.7 exp(2.2) by 1.14.
        (((0.5, 1.0), (1.1, 1.2)), (0.5, 3.0), -1.1, True),
        (((0.5, 1.0), (1.1, 1.2)), (0.5, 3.0), -1.2, False),
        # Behind at every level, whatever their ratio is said to be: 0.7 exp(2) and 0.7 exp(1.8) differ by 0.94.
        (((1.0, 1.1), (0.8, 0.9)), (0.5, 0.6), 0.9, None),
        # What can be equal is not settled.
        (((1.0, 1.1), (0.8, 1.0)), (0.5, 0.6), 0.0, False),
    ],
)
def test_who_is_before_by_hand(levels, ratio: tuple[float, float], worth: float, is_before: bool | None):
    def entry(label: str, score: float) -> Entry:
        flops = BASE.flops * math.log(score / 0.15) / 2
        return Entry(label, BASE.runtime_ms, flops, 1e5, samples_ms=(np.ones((1, 1)),))

    base = replace(BASE, samples_ms=(np.ones((1, 1)),))
    order = PairedOrder([entry("A", 3.0), entry("B", 3.0 + worth), base], base)
    order._kinds = [Known(levels, ratio)]
    found = order.intervals(RULES.main, [0, 1])
    first = {True: (1, 1), False: (1, 2), None: (2, 2)}[is_before]
    assert found == {0: first, 1: (3 - first[1], 3 - first[0])}


def test_runtimes_are_in_units_of_the_baselines():
    entries = entries_of(samples(np.random.default_rng(2), 2, rounds=3))
    base = replace(BASE, runtime_ms=entries[0].runtime_ms / 3)
    order = PairedOrder(entries, base)
    assert order._place(0, order._kinds[0]).estimate == pytest.approx(3.0)
    # The baseline among the entries is the unit itself.
    among = PairedOrder(entries, entries[1])
    assert among._place(1, among._kinds[0]) == Interval(1.0, 1.0, 1.0)
    assert among._place(0, among._kinds[0]) == among._kinds[0].of(0, 1)


def test_in_2022_the_runtime_alone_has_ranges_and_sums_of_ranks_have_none():
    rules = find_edition(2022)
    entries = entries_of(samples(np.random.default_rng(0), 2, rounds=3))
    order = PairedOrder(entries, published_baseline(rules))
    assert set(order.intervals(rules.main, [0, 1])) == {0, 1}
    assert [order.intervals(track, [0, 1]) for track in rules.tracks[1:]] == [{}, {}]


def test_ranges_for_all_are_never_narrower_even_of_skewed_samples():
    """One image makes a long tail, which the pair's percentiles see and its standard error does not."""
    random = np.random.default_rng(67)
    sizes, tail = random.uniform(5, 20, (1, 6, 1)), random.exponential(0.05, (6, 1))
    times = sizes * np.exp(np.stack([np.zeros((6, 1)), tail - 0.018 * random.uniform(0.5, 3)]))
    pairwise = _Ratios(entries_of(times))
    together = _SimultaneousRatios(pairwise)
    assert together.of(1, 0).high < 1 < pairwise.of(1, 0).high
    assert ranges(entries_of(times), True) == ranges(entries_of(times), False) == [(1, 2), (1, 2)]
