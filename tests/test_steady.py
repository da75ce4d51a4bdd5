"""The steady protocol: what it times, in which order, when it stops, and what it drops."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import aa, disturbance
from eval.aa import Repeat, Subject, Trial, run_trial
from eval.datasets import open_dataset
from eval.errors import RunError
from eval.images import write_png
from eval.record import Ratio, Timing
from eval.report.aa import markdown, summary
from eval.steady import PRESETS, Preset, measure_together, spread
from eval.warmup import TimingError, warm_up
from eval.zoo import find_model

CPU = torch.device("cpu")
# No interval is narrower than its half-width, so all rounds are run.
TEST = Preset("test", images=4, rounds=(3, 6), budget_s=60, half_width=-1.0)


class Clockwork:
    """Stands for an upscaler whose times are known: a cold first call, then a steady time per pixel."""

    def __init__(self, label: str, ms_per_row: float, log: list, cold_ms: float = 1000.0) -> None:
        self.label, self.device, self.processes = label, CPU, frozenset()
        self.ms_per_row, self.log, self.cold_ms, self.calls = ms_per_row, log, cold_ms, 0

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        self.calls += 1
        self.log.append((self.label, lr.shape[0]))
        return lr, self.cold_ms if self.calls == 1 else self.ms_per_row * lr.shape[0]


@pytest.fixture
def dataset(tmp_path: Path, random_image):
    for index, height in enumerate((40, 48, 56, 64, 72)):
        write_png(tmp_path / "set" / f"{index}.png", random_image(height, 40, index))
    return open_dataset(tmp_path / "set", None)


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch):
    """Whatever else this machine does shall not matter here."""
    monkeypatch.setattr(disturbance.Watch, "disturbance", lambda self: None)


def test_known_times_give_known_figures(dataset):
    log: list = []
    first, second = measure_together([Clockwork("A", 2.0, log), Clockwork("B", 1.0, log)], dataset, TEST)
    # Images 0, 1, 3, 4 of five, with 10, 12, 16 and 18 rows.
    assert first.image_names == ("0", "1", "3", "4")
    assert [row[0] for row in first.samples_ms] == [20.0, 24.0, 32.0, 36.0]
    assert (second.ratio.estimate, second.ratio.low, second.ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    assert second.ratio.baseline == first.ratio.baseline == "A"
    assert first.ratio.estimate == 1.0
    assert first.p50_ms == pytest.approx(28.0)
    assert first.p90_ms == pytest.approx(np.quantile([20, 24, 32, 36] * 6, 0.9))
    assert first.group == second.group
    assert first.inputs_sha256 == second.inputs_sha256


def test_the_cold_start_is_kept_apart(dataset):
    (timing,) = measure_together([Clockwork("A", 2.0, [])], dataset, TEST)
    assert timing.cold_start_ms == 1000.0
    assert max(max(row) for row in timing.samples_ms) == 36.0


def test_every_size_is_warmed_until_it_settles(dataset):
    log: list = []
    (timing,) = measure_together([Clockwork("A", 1.0, log)], dataset, TEST)
    warm = log[: timing.warmup_runs]
    assert warm == [("A", 10), *[("A", rows) for rows in (10, 12, 16, 18) for _ in range(3)]]
    assert timing.warmup_ms == 1000 + 3 * (10 + 12 + 16 + 18)


def test_a_model_that_does_not_settle_is_warmed_ten_times_a_size(dataset):
    restless = Clockwork("A", 1.0, [])
    times = iter(np.linspace(1, 100, 1000))
    restless.__class__ = type("Restless", (Clockwork,), {"__call__": lambda self, lr: (lr, float(next(times) ** 3))})
    assert warm_up([restless], 0, [np.zeros((5, 5, 3)), np.zeros((6, 5, 3))]).runs == 1 + 2 * 10


def test_models_take_turns_image_by_image_in_random_order(dataset):
    log: list = []
    models = [Clockwork(label, 1.0, log) for label in "ABC"]
    timings = measure_together(models, dataset, TEST, seed=5)
    rounds = log[sum(timing.warmup_runs for timing in timings) :]
    assert len(rounds) == 6 * 4 * 3
    turns = [rounds[start : start + 3] for start in range(0, len(rounds), 3)]
    assert all(sorted(label for label, _ in turn) == ["A", "B", "C"] for turn in turns)
    assert all(len({rows for _, rows in turn}) == 1 for turn in turns)
    assert len({tuple(label for label, _ in turn) for turn in turns}) == 6
    again: list = []
    measure_together([Clockwork(label, 1.0, again) for label in "ABC"], dataset, TEST, seed=5)
    assert again == log


def test_it_stops_when_the_interval_is_tight_enough(dataset):
    tight = Preset("tight", images=2, rounds=(3, 50), budget_s=60, half_width=0.01)
    timings = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 1.0, [])], dataset, tight)
    assert {timing.stopped_by for timing in timings} == {"interval"}
    assert len(timings[0].samples_ms[0]) == 4


def test_it_stops_at_the_last_round_and_at_the_end_of_the_budget(dataset):
    (rounds,) = measure_together([Clockwork("A", 2.0, [])], dataset, TEST)
    assert (rounds.stopped_by, len(rounds.samples_ms[0])) == ("rounds", 6)
    poor = Preset("poor", images=2, rounds=(3, 50), budget_s=0, half_width=0.0)
    (budget,) = measure_together([Clockwork("A", 2.0, [])], dataset, poor)
    assert (budget.stopped_by, len(budget.samples_ms[0])) == ("budget", 3)


def test_disturbed_samples_are_dropped_for_all_models_and_counted(dataset, monkeypatch: pytest.MonkeyPatch):
    reasons = iter(["another process on the GPU", None, "thermal slowdown"] + [None] * 100)
    monkeypatch.setattr(disturbance.Watch, "disturbance", lambda self: next(reasons))
    first, second = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 1.0, [])], dataset, TEST)
    assert first.dropped == second.dropped == {"another process on the GPU": 1, "thermal slowdown": 1}
    holes = [[ms is None for ms in row] for row in first.samples_ms]
    assert sum(map(sum, holes)) == 2
    assert holes == [[ms is None for ms in row] for row in second.samples_ms]
    assert second.ratio.estimate == pytest.approx(0.5)


def test_when_everything_is_disturbed_there_is_no_figure(dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(disturbance.Watch, "disturbance", lambda self: "other processes on the CPU")
    (timing,) = measure_together([Clockwork("A", 2.0, [])], dataset, TEST)
    assert (timing.p50_ms, timing.p90_ms, timing.ratio) == (None, None, None)
    assert timing.dropped == {"other processes on the CPU": 24}
    assert Timing.model_validate_json(timing.model_dump_json()) == timing


@pytest.mark.parametrize(
    ("available", "wanted", "expected"), [(5, 4, [0, 1, 3, 4]), (3, 10, [0, 1, 2]), (1, 5, [0]), (100, 2, [0, 99])]
)
def test_images_are_evenly_spread(available: int, wanted: int, expected: list[int]):
    assert spread(available, wanted) == expected


def test_presets_grow():
    rapid, quick, normal = (PRESETS[name] for name in ("rapid", "quick", "normal"))
    assert rapid.half_width > quick.half_width > normal.half_width
    assert rapid.budget_s < quick.budget_s < normal.budget_s
    assert rapid.images < quick.images < normal.images


def repeat(low: float, estimate: float, high: float) -> Repeat:
    return Repeat(Ratio(baseline="A", estimate=estimate, low=low, high=high), 1)


def test_a_trial_passes_with_nine_of_ten_intervals_and_all_p50():
    good, bad = repeat(0.99, 1.002, 1.01), repeat(1.001, 1.005, 1.02)
    assert Trial((good,) * 9 + (bad,)).passed
    assert not Trial((good,) * 8 + (bad,) * 2).passed
    assert not Trial((good,) * 9 + (repeat(0.99, 1.011, 1.02),)).passed
    assert not Trial((Repeat(None, 3),)).passed


def test_the_page_of_a_trial():
    trial = Trial((repeat(0.99, 1.002, 1.01), repeat(1.01, 1.015, 1.03), Repeat(None, 4)))
    assert summary(trial)[:2] == [
        "1 of 3 intervals cover a ratio of 1 (expected: at least 90%)",
        "1 of 3 ratios of p50 lie within 1% of 1 (expected: all)",
    ]
    assert "largest 1.50%" in summary(trial)[3]
    rows = [line for line in markdown("Title", ["a fact"], trial).splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in rows[3].strip("|").split("|")] == [
        "2", "1.0150", "1.0100", "1.0300", "NO", "NO", "1"
    ]  # fmt: skip


def test_a_trial_times_two_copies_in_another_order_each_time(dataset, monkeypatch: pytest.MonkeyPatch):
    seeds = Counter()

    def count(copies, _dataset, preset, seed):
        seeds[seed] += 1
        assert copies[0].network is not copies[1].network
        return measure_together([Clockwork("A", 1.0, []), Clockwork("A", 1.0, [])], dataset, preset, seed)

    monkeypatch.setattr(aa, "measure_together", count)
    seen: list = []
    trial = run_trial(Subject(find_model("Bicubic"), None, dataset, CPU), TEST, 3, seen.append)
    assert seeds == {0: 1, 1: 1, 2: 1}
    assert trial.passed
    assert len(seen) == 3


class Breaking(Clockwork):
    """Fails at its tenth call."""

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        if self.calls == 9:
            raise RunError("broke")
        return super().__call__(lr)


def test_a_model_that_fails_while_it_is_timed_is_named_by_its_place(dataset):
    models = [Clockwork("A", 2.0, []), Breaking("B", 1.0, []), Clockwork("C", 1.0, [])]
    with pytest.raises(TimingError, match="broke") as caught:
        measure_together(models, dataset, TEST)
    assert caught.value.index == 1
