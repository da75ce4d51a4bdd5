"""Intervals: exact where arithmetic gives them, and honest where chance does."""

import json
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from eval import intervals
from eval.intervals import Interval, narrowness, paired_difference, paired_ratio, resampled


def half_width(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


def test_a_constant_factor_is_found_exactly_whatever_images_and_drift_do():
    random = np.random.default_rng(0)
    baseline = random.uniform(10, 500, (12, 1)) * random.uniform(0.8, 1.2, (1, 9))
    ratio = paired_ratio(1.25 * baseline, baseline)
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((1.25, 1.25, 1.25))


def test_the_estimate_by_hand():
    model = np.array([[10.0, 12.0, 50.0], [20.0, 22.0, 21.0]])
    baseline = np.array([[10.0, 11.0, 12.0], [10.0, 10.0, 10.0]])
    # Medians 12 and 21 against 11 and 10; means of them 16.5 and 10.5.
    assert paired_ratio(model, baseline).estimate == pytest.approx(16.5 / 10.5)
    assert paired_difference(model, baseline).estimate == pytest.approx(6.0)


def test_one_round_of_many_images_has_the_interval_of_a_paired_mean():
    random = np.random.default_rng(5)
    baseline = random.uniform(20, 30, (400, 1))
    interval = paired_difference(baseline + random.normal(0.1, 0.2, (400, 1)), baseline)
    # The standard error is 0.2 / 20; 1.96 of them on either side.
    assert half_width(interval) == pytest.approx(0.0196, rel=0.15)
    assert interval.covers(0.1)


def test_images_are_resampled_whole_also_where_there_are_rounds():
    random = np.random.default_rng(5)
    baseline = random.uniform(20, 30, (400, 1)) * np.ones((1, 3))
    model = baseline + random.normal(0.1, 0.2, (400, 1))
    # Rounds that repeat each other add nothing: 1.96 x 0.2 / 20, as with one round.
    assert half_width(paired_difference(model, baseline)) == pytest.approx(0.0196, rel=0.15)


def test_the_number_of_resamples_and_the_seed_are_those_asked_for():
    model, baseline = np.random.default_rng(1).uniform(9, 11, (2, 20, 8))
    few = resampled(np.stack((model, baseline)), seed=3, resamples=50)
    assert few.drawn.shape == (2, 50)
    low, high = np.quantile(few.drawn[0] / few.drawn[1], (0.025, 0.975))
    found = paired_ratio(model, baseline, seed=3, resamples=50)
    assert (found.low, found.high) == (low, high)
    assert resampled(np.stack((model, baseline))).drawn.shape == (2, 1000)


def test_samples_missing_on_one_side_count_on_neither():
    model = np.array([[10.0, np.nan, 10.0], [np.nan, np.nan, np.nan]])
    baseline = np.array([[5.0, 1000.0, 5.0], [1.0, 1.0, 1.0]])
    assert paired_ratio(model, baseline).estimate == 2.0
    # The inputs stay as they are.
    assert baseline.tolist() == [[5.0, 1000.0, 5.0], [1.0, 1.0, 1.0]]


def test_one_sample_tells_nothing_of_the_spread():
    ratio = paired_ratio(np.array([[3.0, np.nan]]), np.array([[2.0, 5.0]]))
    assert (ratio.estimate, ratio.low, ratio.high) == (1.5, -np.inf, np.inf)


def test_the_same_seed_gives_the_same_interval():
    random = np.random.default_rng(1)
    model, baseline = random.uniform(9, 11, (2, 20, 8))
    assert paired_ratio(model, baseline, seed=3) == paired_ratio(model, baseline, seed=3)
    assert paired_ratio(model, baseline, seed=3) != paired_ratio(model, baseline, seed=4)


def test_equal_models_are_covered_and_different_ones_are_told_apart():
    random = np.random.default_rng(2)
    covered, apart = 0, 0
    for seed in range(40):
        base = random.uniform(50, 200, (10, 1)) * random.normal(1, 0.05, (1, 10))
        noisy = base * random.normal(1, 0.02, (2, 10, 10))
        covered += paired_ratio(noisy[0], noisy[1], seed, resamples=300).covers(1)
        apart += not paired_ratio(1.05 * noisy[0], noisy[1], seed, resamples=300).covers(1)
    assert covered >= 36
    assert apart >= 36


def test_one_round_is_a_mean_over_images():
    differences = np.array([2.0, 2.0, 2.0, 3.0, 3.0, 3.0])[:, None]
    difference = paired_difference(differences + 7, np.full((6, 1), 7.0))
    assert difference.estimate == 2.5
    # Of six images each drawn from two halves, a mean of 2 + k/6 with k from B(6, 1/2): 1/64 lie at either end. For so
    # few images the ends are as much farther out as Student's t is than the normal quantile, and sqrt(6/5) times.
    half = (1 / 2 - 1 / 6) * 2.5706 / 1.9600 * math.sqrt(6 / 5)
    assert (difference.low, difference.high) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-3)


@pytest.mark.parametrize("confidence", [0.95, 0.995])
@pytest.mark.parametrize("samples", [6, 7, 14, 100])
def test_few_images_widen_an_interval_as_students_t_does(samples: int, confidence: float):
    upper = (1 + confidence) / 2
    expected = stats.t.ppf(upper, samples - 1) / stats.norm.ppf(upper) * math.sqrt(samples / (samples - 1))
    assert narrowness(samples, confidence) == pytest.approx(expected, rel=0.01)


def test_a_ratio_of_few_images_is_settled_both_ways_or_neither():
    random = np.random.default_rng(3)
    for one, other in random.lognormal(0, 0.5, (50, 2, 8, 1)):
        found, inverse = paired_ratio(one, other), paired_ratio(other, one)
        assert 0 < found.low < found.estimate < found.high
        assert (inverse.low, inverse.high) == pytest.approx((1 / found.high, 1 / found.low), rel=1e-3)


@pytest.mark.parametrize("images", [6, 14, 30])
def test_of_normal_differences_about_a_twentieth_of_intervals_misses_the_truth(images: int):
    draws = np.random.default_rng(0).normal(0, 1, (1000, images, 1))
    missed = sum(not paired_difference(its, np.zeros_like(its)).covers(0) for its in draws)
    # A binomial of 1000 and 0.05 has a standard deviation of 6.9.
    assert 30 <= missed <= 75


def test_of_the_published_differences_more_miss(published):
    """Their tails are heavy: measuring.md says what that does to verdicts on few images."""
    psnrs = [result["valid_psnr"] for result in json.loads((published / "ntire2026_results.json").read_text()).values()]
    random, missed = np.random.default_rng(0), 0
    for first, second in pairwise(np.array(psnrs)):
        for its in random.choice(first - second, (40, 6, 1)):
            missed += not paired_difference(its, np.zeros_like(its)).covers((first - second).mean())
    assert 0.12 < missed / (40 * (len(psnrs) - 1)) < 0.24


@pytest.mark.parametrize(
    ("interval", "texts"),
    [
        (Interval(1e-6, 9e-7, 2e-6), ("+0.000001", "[+0.000001, +0.000002]")),
        (Interval(-1e-6, -2e-6, 3e-7), ("0.000", "[0.000, 0.000]")),
        (Interval(0.5, 0.25, 0.75), ("+0.500", "[+0.250, +0.750]")),
        (Interval(0.5, -math.inf, math.inf), ("+0.500", "(too few samples)")),
    ],
)
def test_an_interval_is_printed_so_that_its_verdict_shows(interval: Interval, texts: tuple[str, str]):
    assert interval.texts(0, "+") == texts


@pytest.mark.parametrize(("shape", "settled"), [((1, 9), False), ((1, 10), True), ((5, 1), False), ((6, 1), True)])
def test_how_many_samples_an_interval_takes(shape: tuple[int, int], settled: bool):
    ones = np.ones(shape)
    assert math.isfinite(paired_ratio(2 * ones, ones).high) is settled


@pytest.mark.parametrize("images", [1, 2, 5, 6])
def test_images_that_agree_in_sign_by_chance_settle_nothing(images: int):
    """Equal models agree in sign on five images in 2/32 of all cases, more than a twentieth; on six in 2/64."""
    differences = np.linspace(0.01, 0.02, images)[:, None]
    found = paired_difference(30 + differences, np.full((images, 1), 30.0))
    assert found.covers(0) is (images < 6)
    assert found.estimate == pytest.approx(differences.mean())


def test_an_interval_covers_its_ends():
    interval = Interval(1.0, 0.9, 1.2)
    assert interval.covers(0.9)
    assert interval.covers(1.2)
    assert not interval.covers(1.21)
    # A ratio of 0.2 that is known to 0.02 is known to a tenth; so is a difference of -0.2.
    assert Interval(0.2, 0.18, 0.22).relative_half_width == pytest.approx(0.1)
    assert Interval(-0.2, -0.22, -0.18).relative_half_width == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("model", "baseline", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), r"got \(2, 3\) and \(2, 4\)"),
        (np.ones(3), np.ones(3), r"got \(3,\)"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), "no image has a sample of both"),
    ],
)
def test_refuses_what_cannot_be_paired(model: np.ndarray, baseline: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        paired_ratio(model, baseline)


def test_medians_are_numpys_whatever_is_missing():
    random = np.random.default_rng(0)
    samples = random.normal(size=(2, 30, 9))
    samples[random.random(samples.shape) < 0.4] = np.nan
    samples[0, 3], samples[1, 4, 1:] = np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmedian(samples, axis=-1)
    assert np.array_equal(intervals._medians(samples), expected, equal_nan=True)


def test_resamples_that_lost_every_round_do_not_count():
    # Ten of 70 rounds are left: of 3,000 resamples a few hold none of them.
    samples = np.full((1, 70), np.nan)
    samples[0, :10] = (10.0, 11.0, 12.0, 11.0, 10.0, 11.0, 12.0, 11.0, 10.0, 11.0)
    found = paired_ratio(2 * samples, samples, resamples=3000)
    assert (found.low, found.high) == pytest.approx((2.0, 2.0))
    assert not found.covers(1)


@pytest.mark.parametrize("kept", [2, 9, 10])
def test_a_ratio_takes_ten_samples_that_were_kept(kept: int):
    samples = np.full((3, 12), np.nan)
    samples[1, :kept] = 10.0
    found = paired_ratio(1.5 * samples, samples)
    assert found.estimate == pytest.approx(1.5)
    assert found.covers(1) is (kept < 10)


def test_rounds_are_resampled_too():
    noise = np.random.default_rng(5).normal(0.1, 0.2, (1, 400))
    baseline = np.full((1, 400), 20.0)
    # A median's standard error is 1.25 times a mean's, 0.2 / 20; 1.96 of them on either side.
    assert half_width(paired_difference(baseline + noise, baseline)) == pytest.approx(0.0246, rel=0.6)
