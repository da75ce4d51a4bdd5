"""The steady protocol: what it times, in which order, when it stops, and what it drops."""

import hashlib
import itertools
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval.cli import aa
from eval.cli.aa import Repeat, Trial, markdown, run_trial, summary
from eval.data.datasets import open_dataset
from eval.data.images import write_png
from eval.errors import RunError
from eval.intervals import Interval
from eval.timing import gpu_figures, interference, interleaved
from eval.timing.interleaved import measure_together
from eval.timing.presets import PRESETS, Preset, spread
from eval.timing.samples import Ratio, Timing
from eval.timing.warmup import TimingError, warm_up
from tests.conftest import PROJECT
from tests.tasks import BICUBIC, config_of

CPU = torch.device("cpu")
# No interval is narrower than its half-width, so all rounds are run.
TEST = Preset("test", images=4, rounds=(3, 6), budget_s=60, half_width=-1.0)


class Clockwork:
    """Stands for an upscaler whose times are known: a cold first call, then a steady time per pixel."""

    def __init__(self, label: str, ms_per_row: float, log: list, cold_ms: float = 1000.0) -> None:
        self.label, self.device, self.processes, self.irregular = label, CPU, frozenset(), None
        self.ms_per_row, self.log, self.cold_ms, self.calls = ms_per_row, log, cold_ms, 0

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        self.calls += 1
        self.log.append((self.label, lr.shape[0]))
        return lr, self.cold_ms if self.calls == 1 else self.ms_per_row * lr.shape[0]

    def kernels_ms(self, lr: np.ndarray) -> float | None:
        return None


@pytest.fixture
def dataset(tmp_path: Path, random_image):
    for index, height in enumerate((40, 48, 56, 64, 72)):
        write_png(tmp_path / "set" / f"{index}.png", random_image(height, 40, index))
    return open_dataset(tmp_path / "set", None)


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
    # The cold start is kept apart.
    assert first.cold_start_ms == 1000.0
    assert max(max(row) for row in first.samples_ms) == 36.0


@pytest.mark.parametrize(("device", "unwatched"), [("cpu", ()), ("mps", ("its processes", "its clock"))])
def test_a_gpu_that_was_not_watched_is_on_record(dataset, device: str, unwatched: tuple[str, ...]):
    model = Clockwork("A", 1.0, [])
    model.device = torch.device(device)
    (timing,) = measure_together([model], dataset, TEST)
    assert timing.unwatched == unwatched


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


def test_the_last_three_times_must_agree(dataset):
    """As of 1.1 and 1.0, which are a tenth apart, and not as of 1.2."""
    for times, runs in (([9.0, 1.0, 1.0, 1.1], 4), ([1.0, 1.0, 1.0], 3), ([1.2, 1.0, 1.1, 1.0], 4)):
        calls = iter([99.0, *times])
        warmth = warm_up([lambda lr, calls=calls: (lr, next(calls))], 0, [np.zeros((5, 5, 3))])
        assert (warmth.runs, warmth.total_ms, warmth.cold_start_ms) == (1 + runs, 99.0 + sum(times), 99.0)


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
    # The order of images is drawn anew each round as well.
    orders = [tuple(turn[0][1] for turn in turns[start : start + 4]) for start in range(0, len(turns), 4)]
    assert all(sorted(order) == [10, 12, 16, 18] for order in orders)
    assert len(set(orders)) > 1
    again: list = []
    measure_together([Clockwork(label, 1.0, again) for label in "ABC"], dataset, TEST, seed=5)
    assert again == log
    other: list = []
    measure_together([Clockwork(label, 1.0, other) for label in "ABC"], dataset, TEST, seed=6)
    assert sorted(other) == sorted(log)
    assert other != log


def test_the_watch_begins_anew_for_every_image(dataset, monkeypatch: pytest.MonkeyPatch):
    log: list = []
    monkeypatch.setattr(interference.Watch, "begin", lambda self: log.append("begin"))
    measure_together([Clockwork(label, 1.0, log) for label in "AB"], dataset, TEST)
    rounds = log[log.index("begin") + 1 :]
    assert [entry == "begin" for entry in rounds] == [True, False, False] * 24


def test_every_ratio_must_be_tight(dataset, monkeypatch: pytest.MonkeyPatch):
    def known(model: np.ndarray, baseline: np.ndarray, **_more) -> Interval:
        ratio = model.mean() / baseline.mean()
        # That of C, 3 times as slow as A, is known to a tenth; that of B to a hundredth.
        return Interval(ratio, ratio * (1 - 0.01 * (10 if ratio > 2.5 else 1)), ratio * (1 + 0.01))

    monkeypatch.setattr(interleaved, "paired_ratio", known)
    limits = Preset("limits", images=2, rounds=(2, 4), budget_s=60, half_width=0.02)
    models = {label: Clockwork(label, ms, []) for label, ms in (("A", 1.0), ("B", 2.0), ("C", 3.0))}
    for labels, stopped_by in (("AB", "interval"), ("ABC", "rounds"), ("CA", "interval")):
        timings = measure_together([models[label] for label in labels], dataset, limits)
        assert timings[0].stopped_by == stopped_by


def test_it_is_judged_from_the_least_number_of_rounds_on_and_every_second_one(dataset):
    for least, stops in ((3, 4), (4, 4), (5, 6)):
        tight = Preset("tight", images=3, rounds=(least, 50), budget_s=60, half_width=0.01)
        (timing, _) = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 1.0, [])], dataset, tight)
        assert (timing.stopped_by, len(timing.samples_ms[0])) == ("interval", stops)


def test_the_budget_is_that_of_all_models_together(dataset, monkeypatch: pytest.MonkeyPatch):
    """Each forward takes a second: two models and two images 4 s a round."""
    log: list = []
    monkeypatch.setattr(interleaved.time, "monotonic", lambda: float(len(log)))
    for budget_s, rounds in ((6.0, 4), (5.9, 3), (1.0, 2)):
        # The deadline is 12 s after the start: the third round ends with it, and a fourth one is begun.
        limits = Preset("poor", images=2, rounds=(2, 50), budget_s=budget_s, half_width=-1.0)
        timings = measure_together([Clockwork("A", 2.0, log), Clockwork("B", 1.0, log)], dataset, limits)
        assert {(timing.stopped_by, len(timing.samples_ms[0])) for timing in timings} == {("budget", rounds)}


def test_every_round_is_told_with_its_number(dataset):
    told: list[int] = []
    (timing,) = measure_together([Clockwork("A", 2.0, [])], dataset, TEST, on_round=told.append)
    assert (told, timing.stopped_by, len(timing.samples_ms[0])) == ([1, 2, 3, 4, 5, 6], "rounds", 6)


def test_a_timing_says_what_it_was_taken_of(dataset):
    first, _ = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 1.0, [])], dataset, TEST, seed=7)
    assert (first.seed, first.preset, first.image_names) == (7, "test", ("0", "1", "3", "4"))
    digest = hashlib.sha256()
    for index in (0, 1, 3, 4):
        lr = dataset.pairs[index].read()[0]
        digest.update(f"{index} {lr.shape}".encode() + lr.tobytes())
    assert first.inputs_sha256 == digest.hexdigest()


def test_quantiles_by_hand():
    # Of ten samples p50 lies between the fifth and the sixth, p90 a tenth of the way from the ninth to the tenth.
    samples = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, np.nan], [6.0, 7.0, 8.0, 9.0, 10.0, np.nan]])
    found = interleaved._summary(samples, 2 * samples, "A")
    assert (found["p50_ms"], found["p90_ms"]) == pytest.approx((5.5, 9.1))
    assert (found["ratio"].baseline, found["ratio"].estimate) == ("A", 0.5)


def test_an_interval_is_tight_by_its_part_of_the_ratio(dataset, monkeypatch: pytest.MonkeyPatch):
    """Between ratios of 0.2 and of 5 nothing but the unit differs: both stop at the same width."""
    stops = {}
    for ratio in (0.2, 5.0):
        interval = Interval(ratio, 0.9 * ratio, 1.1 * ratio)
        monkeypatch.setattr(interleaved, "paired_ratio", lambda *_args, known=interval, **_more: known)
        for half_width in (0.09, 0.11):
            limits = Preset("limits", images=2, rounds=(2, 4), budget_s=60, half_width=half_width)
            timings = measure_together([Clockwork("A", 1.0, []), Clockwork("B", ratio, [])], dataset, limits)
            stops[ratio, half_width] = timings[0].stopped_by
    interval = Interval(4.0, 2.0, 6.0)
    monkeypatch.setattr(interleaved, "paired_ratio", lambda *_args, **_more: interval)
    exact = Preset("exact", images=2, rounds=(2, 4), budget_s=60, half_width=0.5)
    (timing, _) = measure_together([Clockwork("A", 1.0, []), Clockwork("B", 4.0, [])], dataset, exact)
    assert timing.stopped_by == "interval"
    assert stops == {(ratio, width): by for ratio in (0.2, 5.0) for width, by in ((0.09, "rounds"), (0.11, "interval"))}


def test_places_to_settle_are_timed_until_they_are_or_to_the_end_of_the_budget(dataset):
    # Clocks without a spread settle at once; equal ones never do, and the budget ends them.
    limits = Preset("limits", images=3, rounds=(4, 4), budget_s=60, half_width=-1.0, settle=1)
    apart = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 3.0, [])], dataset, limits)
    assert {(its.stopped_by, len(its.samples_ms[0])) for its in apart} == {("settled", 4)}
    poor = Preset("poor", images=2, rounds=(6, 4), budget_s=0, half_width=-1.0, settle=1)
    equal = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 2.0, [])], dataset, poor)
    assert {(its.stopped_by, len(its.samples_ms[0])) for its in equal} == {("budget", 6)}


def test_disturbed_samples_are_dropped_for_all_models_and_counted(dataset, monkeypatch: pytest.MonkeyPatch):
    reasons = iter(["another process on the GPU", None, "thermal slowdown"] + [None] * 100)
    monkeypatch.setattr(interference.Watch, "disturbance", lambda self: next(reasons))
    first, second = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 1.0, [])], dataset, TEST)
    assert first.dropped == second.dropped == {"another process on the GPU": 1, "thermal slowdown": 1}
    holes = [[ms is None for ms in row] for row in first.samples_ms]
    assert sum(map(sum, holes)) == 2
    assert holes == [[ms is None for ms in row] for row in second.samples_ms]
    assert second.ratio.estimate == pytest.approx(0.5)


def test_the_baselines_ratio_to_itself_is_known_however_few_samples_there_are(dataset):
    few = Preset("few", images=1, rounds=(1, 1), budget_s=60, half_width=1.0)
    first, second = measure_together([Clockwork("A", 2.0, []), Clockwork("A", 1.0, [])], dataset, few)
    assert first.ratio == Ratio(baseline="A", estimate=1.0, low=1.0, high=1.0)
    assert second.ratio == Ratio(baseline="A", estimate=0.5, low=-math.inf, high=math.inf)
    assert (first.is_baseline, second.is_baseline) == (True, False)


def test_when_everything_is_disturbed_there_is_no_figure(dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(interference.Watch, "disturbance", lambda self: "other processes on the CPU")
    monkeypatch.setattr(interference.Watch, "described", lambda self, reason: f"{reason} (31% of a core)")
    timing, _ = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 1.0, [])], dataset, TEST)
    assert (timing.p50_ms, timing.p90_ms, timing.ratio) == (None, None, None)
    assert timing.dropped == {"other processes on the CPU (31% of a core)": 24}
    assert Timing.model_validate_json(timing.model_dump_json()) == timing


@pytest.mark.parametrize(
    ("available", "wanted", "expected"), [(5, 4, [0, 1, 3, 4]), (3, 10, [0, 1, 2]), (1, 5, [0]), (100, 2, [0, 99])]
)
def test_images_are_evenly_spread(available: int, wanted: int, expected: list[int]):
    assert spread(available, wanted) == expected


def test_presets_are_those_that_the_document_lists():
    text = (PROJECT / "docs" / "measuring.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"\| `(\w+)` \| (\d+ \| \d+ to \d+ \| \d+ \w+ \| [\d.]+%) \|", text))
    time = {30: "30 s", 120: "2 min", 600: "10 min"}
    rows = {}
    for its in PRESETS.values():
        width = f"{its.half_width:.1%}".replace(".0%", "%")
        rows[its.name] = f"{its.images} | {its.rounds[0]} to {its.rounds[1]} | {time[its.budget_s]} | {width}"
    assert listed == rows
    assert list(listed) == list(PRESETS) == ["rapid", "quick", "normal"]


def repeat(low: float, estimate: float, high: float) -> Repeat:
    return Repeat(Ratio(baseline="A", estimate=estimate, low=low, high=high), 1)


def test_so_many_intervals_must_cover_one_that_chance_misses_in_under_one_trial_of_twenty():
    def chance_of_fewer(least: int, repeats: int) -> float:
        return sum(math.comb(repeats, count) * 0.95**count * 0.05 ** (repeats - count) for count in range(least))

    for repeats in range(2, 200):
        least = aa.least_covered(repeats)
        assert chance_of_fewer(least, repeats) < 0.05 < chance_of_fewer(least + 1, repeats)
    # 0.95**5 is 77%: all of five is too much to ask. Of one repeat chance misses exactly 5%, which is not under it.
    assert [aa.least_covered(repeats) for repeats in (1, 5, 9, 40, 2000)] == [0, 4, 7, 36, 1884]


def test_a_trial_passes_with_enough_intervals_and_all_p50():
    good, bad = repeat(0.99, 1.002, 1.01), repeat(1.001, 1.005, 1.02)
    assert Trial((good,) * 4 + (bad,)).passed
    assert not Trial((good,) * 3 + (bad,) * 2).passed
    assert not Trial((good,) * 4 + (repeat(0.99, 1.011, 1.02),)).passed
    assert not Trial((Repeat(None, 3),)).passed


def test_the_page_of_a_trial():
    trial = Trial((repeat(0.99, 1.002, 1.01), repeat(1.01, 1.015, 1.03), Repeat(None, 4)))
    assert summary(trial)[:2] == [
        "1 of 3 intervals cover a ratio of 1 (expected: at least 2, which chance misses in under 5% of trials)",
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
        # As the steady protocol opens and runs them: TF32 off, tiles as asked for.
        assert not torch.backends.cudnn.allow_tf32
        assert [copy.tiling.tile for copy in copies] == [8, 8]
        assert preset.name == "rapid"
        return measure_together([Clockwork("A", 1.0, []), Clockwork("A", 1.0, [])], dataset, TEST, seed)

    monkeypatch.setattr(aa, "measure_together", count)
    seen: list = []
    torch_ships = torch.backends.cudnn.allow_tf32
    config = config_of(protocol="steady", tile=8, tile_overlap=2, tf32=False, seed=7)
    trial = run_trial(BICUBIC, dataset, config, 3, seen.append)
    assert torch.backends.cudnn.allow_tf32 == torch_ships
    assert seeds == {7: 1, 8: 1, 9: 1}
    assert trial.passed
    assert len(seen) == 3


class Breaking(Clockwork):
    """Fails at a call: the first ones warm it up."""

    def __init__(self, label: str, error: BaseException, at: int) -> None:
        super().__init__(label, 1.0, [])
        self.error, self.at = error, at

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        if self.calls == self.at:
            raise self.error
        return super().__call__(lr)


ERRORS = [RunError("broke"), ValueError("broke"), IndexError("broke"), KeyError("broke"), ZeroDivisionError("broke"),
          MemoryError("broke"), torch.OutOfMemoryError("broke"), AssertionError("broke"), OSError("broke"),
          StopIteration("broke"), SystemExit("broke")]  # fmt: skip


@pytest.mark.parametrize("at", [0, 5, 20])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_model_that_fails_in_any_way_is_named_by_its_place(dataset, error: BaseException, at: int):
    models = [Clockwork("A", 2.0, []), Breaking("B", error, at), Clockwork("C", 1.0, [])]
    with pytest.raises(TimingError, match="broke") as caught:
        measure_together(models, dataset, TEST)
    assert caught.value.index == 1
    assert caught.value.__cause__ is error


def test_an_interrupt_is_no_models_error(dataset):
    with pytest.raises(KeyboardInterrupt):
        measure_together([Clockwork("A", 2.0, []), Breaking("B", KeyboardInterrupt(), 20)], dataset, TEST)


class OnGpu(Clockwork):
    """Of each five runs of its kernels the middle one takes 0.5 ms a row; told for images up to so many rows."""

    most_rows = 100

    def kernels_ms(self, lr: np.ndarray) -> float | None:
        self.log.append(None)
        factor = (9.0, 0.5, 0.1, 0.5, 0.7)[self.log.count(None) % 5]
        return factor * lr.shape[0] if lr.shape[0] <= self.most_rows else None


def test_what_a_gpu_itself_works_stands_beside_the_times(dataset):
    first, second = measure_together([OnGpu("A", 2.0, []), Clockwork("B", 1.0, [])], dataset, TEST)
    assert first.kernels_ms == pytest.approx(0.5 * 14)
    assert second.kernels_ms is None


def test_it_is_not_told_of_some_images_alone(dataset, monkeypatch):
    monkeypatch.setattr(OnGpu, "most_rows", 16)
    (timing,) = measure_together([OnGpu("A", 2.0, [])], dataset, TEST)
    assert timing.kernels_ms is None


def test_a_model_whose_kernels_fail_is_named(dataset, monkeypatch):
    monkeypatch.setattr(OnGpu, "kernels_ms", lambda self, lr: 1 / 0)
    with pytest.raises(TimingError) as caught:
        measure_together([Clockwork("A", 2.0, []), OnGpu("B", 2.0, [])], dataset, TEST)
    assert caught.value.index == 1


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock and a GPU's counter of energy that move by 1 s and by 600 mJ whenever they are read."""
    monkeypatch.setattr(interleaved.time, "monotonic", itertools.count().__next__)
    readings = itertools.count(step=600)
    monkeypatch.setattr(gpu_figures, "open_gpu", lambda _device: SimpleNamespace(energy_mj=readings.__next__))
    monkeypatch.setattr(gpu_figures, "ENERGY_WINDOW_S", 2.5)


def test_energy_is_divided_by_the_images_that_took_it(dataset, counter):
    timings = measure_together([Clockwork("A", 2.0, []), Clockwork("B", 2.0, [])], dataset, TEST)
    # Read at 0 s, asked at 1, 2 and 3 s: two passes over four images.
    assert [timing.energy_mj for timing in timings] == [600 / 8, 600 / 8]


def test_a_model_that_fails_while_its_energy_is_read_is_named_too(dataset, counter):
    failing = Breaking("B", ValueError("broke"), at=1 + 4 * 3 + 6 * 4)
    with pytest.raises(TimingError, match="broke") as caught:
        measure_together([Clockwork("A", 2.0, []), failing], dataset, TEST)
    assert caught.value.index == 1


def test_a_model_whose_worker_has_died_is_named_by_its_place(dataset):
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    alive, dead = Clockwork("A", 2.0, []), Clockwork("B", 1.0, [])
    dead.processes = frozenset({ended.pid})
    with pytest.raises(TimingError, match="its process has ended") as caught:
        measure_together([alive, dead], dataset, TEST)
    assert caught.value.index == 1
