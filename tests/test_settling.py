"""Places by time that are settled, and timing on until they are."""

from dataclasses import replace

import numpy as np
import pytest

from eval.intervals import open_pairs
from eval.timing.interleaved import _is_enough
from eval.timing.presets import PRESETS


def samples(*means_ms: float, spread: float = 0.01, rounds: int = 12) -> np.ndarray:
    """Runtimes ``(models, images, rounds)`` about given means, images of unlike sizes."""
    random = np.random.default_rng(0)
    sizes = np.array([1.0, 2.0, 4.0])[:, None]
    return np.stack([ms * sizes * random.normal(1, spread, (3, rounds)) for ms in means_ms])


def test_what_lies_apart_is_settled_and_equals_are_an_open_pair():
    assert open_pairs(samples(10.0, 12.0, 14.0), 2) == []
    ((first, second),) = open_pairs(samples(12.0, 10.0, 12.001), 2)
    assert {first, second} == {0, 2}
    # The order of the last two is none of the first place.
    assert open_pairs(samples(12.0, 10.0, 12.001), 1) == []


def test_too_few_samples_settle_nothing():
    # The interval of fewer than six samples is unbounded.
    assert open_pairs(samples(10.0, 20.0, rounds=1), 1) == [(0, 1)]
    dropped = samples(10.0, 20.0)
    dropped[1] = np.nan
    assert open_pairs(dropped, 1) == [(0, 1)]
    assert open_pairs(samples(10.0), 1) == []
    # One that was dropped leaves the others.
    dropped = samples(10.0, 20.0)
    dropped[1, 2, 3] = np.nan
    assert open_pairs(dropped, 1) == []


@pytest.mark.parametrize(("means_ms", "enough"), [((10.0, 12.0, 12.001), True), ((10.0, 10.001, 12.0), False)])
def test_rounds_end_when_the_places_are_settled_however_wide_ratios_are(means_ms: tuple, enough: bool):
    by_round = samples(*means_ms, spread=0.05, rounds=16).transpose(0, 2, 1).tolist()
    assert _is_enough(by_round, replace(PRESETS["rapid"], settle=1)) == enough
    assert not _is_enough(by_round, PRESETS["normal"])


def test_what_is_settled_by_few_draws_is_drawn_in_full_before_rounds_end():
    """What is reported is drawn in full: of cases on the edge some are settled by 200 draws and open by 1,000."""
    edge = [
        by_round
        for seed in range(60)
        for by_round in [np.random.default_rng(seed).normal((10.0, 10.15), 0.1, (12, 1, 2)).T]
        if not open_pairs(by_round.transpose(0, 1, 2), 1, resamples=200) and open_pairs(by_round, 1)
    ]
    assert edge
    for timed in edge:
        assert not _is_enough(timed.transpose(0, 2, 1).tolist(), replace(PRESETS["rapid"], settle=1))


def test_looking_again_and_again_settles_no_more_of_equals_than_is_said():
    """By looks at 95% after every second round it were one pair of equal models in five by 40 rounds."""
    wrong = 0
    for seed in range(100):
        equal = np.random.default_rng(seed).normal(10, 0.1, (2, 1, 64))
        wrong += any(not open_pairs(equal[..., :rounds], 1, resamples=400) for rounds in PRESETS["rapid"].looks[:4])
    # Of 100 cases of 1/20 each more than 12 happen with a probability under 1/1000.
    assert wrong <= 12


def test_looks_are_few():
    preset = PRESETS["rapid"]
    assert preset.looks == [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
    assert (preset.most_rounds, replace(preset, settle=1).most_rounds) == (16, 4096)
