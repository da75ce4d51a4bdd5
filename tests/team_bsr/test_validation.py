"""Validation by an independent computation, and what the dry run times and expects."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from eval.data.images import write_png
from eval.device.numerics import convolutions_take_tf32, cudnn_switches
from eval.errors import UsageError
from team_bsr import plan, validation
from team_bsr.losses import LOSSES
from team_bsr.optimisation import Optimisation
from team_bsr.plan import Habits, Plan
from team_bsr.trainees import TRAINEES, Trainee
from team_bsr.validation import open_set, validate
from tests.refusals import said
from tests.team_bsr.test_network import random_network
from tests.team_bsr.test_optimisation import Replayed
from tests.team_bsr.test_training import small_step


def test_validation_is_the_mean_psnr_of_8_bit_rgb_less_4_pixels(tmp_path):
    for number, (height, width) in enumerate(((48, 40), (44, 60))):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        write_png(tmp_path / "hr" / f"{number}.png", pixels)
    dataset, network = open_set(tmp_path / "hr"), random_network((2, 3))
    expected = []
    for pair in dataset.pairs:
        lr, hr = (np.float64(image) for image in pair.read())
        with torch.no_grad():
            sr = network(torch.from_numpy(lr / 255).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).double().numpy()
        error = (np.rint(np.clip(sr, 0, 1) * 255) - hr)[4:-4, 4:-4]
        expected.append(10 * np.log10(255**2 / (error**2).mean()))
    # The fused network may round a few samples to the other side, by one level of 255.
    assert validate(network, [dataset])["hr"] == pytest.approx(np.mean(expected), abs=1e-3)


def test_validation_rounds_nothing_to_tf32_and_training_may(tmp_path, monkeypatch):
    write_png(tmp_path / "hr" / "0.png", np.zeros((32, 32, 3), np.uint8))
    dataset, network, seen = open_set(tmp_path / "hr"), random_network((2, 3)), []
    monkeypatch.setattr(validation, "psnr", lambda *_: seen.append(convolutions_take_tf32()) or 30.0)
    with cudnn_switches(tf32=True):
        assert [validate(network, [dataset]) for _ in range(2)] == [{"hr": 30.0}] * 2
        assert convolutions_take_tf32()
    assert seen == [False, False]


def test_the_dry_run_times_each_step_s_network_and_share_of_a_batch(monkeypatch):
    built, shapes = [], []
    build = TRAINEES["abpn"].build
    trainee = Trainee(lambda pruned: built.append(tuple(pruned)) or build(pruned), None, can_be_pruned=True)
    monkeypatch.setitem(TRAINEES, "abpn", trainee)
    monkeypatch.setitem(LOSSES, "l1", lambda sr, hr: shapes.append(tuple(hr.shape)) or (sr - hr).abs().mean())
    steps = (small_step(iterations=2), small_step(4, stage=2, batch=2, hr_patch=48, iterations=3))
    list(plan.describe(Plan(steps, network="abpn"), Habits(), None, Accelerator(cpu=True)))
    assert built == [(), (2, 3)]
    assert set(shapes) == {(4, 3, 40, 40), (2, 3, 48, 48)}


@pytest.mark.parametrize(("recorded", "unlike"), [(True, 4), (False, 1)])
def test_the_dry_run_times_the_step_that_training_takes(monkeypatch, recorded, unlike):
    """Optimisation as training makes it: AdamW and all, recorded where it can be, whose first calls do not count."""
    made, calls, clock = [], [], []

    class Watched(Optimisation):
        def __init__(self, network, step, accelerator, *how) -> None:
            made.append(how)
            super().__init__(network, step, accelerator, *how)

        def __call__(self, lr, hr, rate):
            calls.append((lr.dtype, tuple(lr.shape), hr.dtype, tuple(hr.shape), rate))
            return super().__call__(lr, hr, rate)

    monkeypatch.setattr(plan, "Optimisation", Watched)
    monkeypatch.setattr(plan, "can_be_recorded", lambda accelerator: True)
    monkeypatch.setattr("team_bsr.optimisation.ReplayedStep", Replayed)
    monkeypatch.setattr(
        plan, "time", SimpleNamespace(perf_counter=lambda: clock.append(len(calls)) or 6.0 * len(clock))
    )
    step, habits = small_step(iterations=2, warm_up=9, halve_every=99), Habits(recorded=recorded)
    lines = list(plan.describe(Plan((step,), network="abpn"), habits, None, Accelerator(cpu=True)))
    assert made == [(recorded, False)]
    assert clock == [unlike, unlike + 3]
    assert set(calls) == {
        (torch.uint8, (4, 3, 10, 10), torch.uint8, (4, 3, 40, 40), step.rate_at(iteration, iteration))
        for iteration in range(unlike + 3)
    }
    assert lines[-2:] == ["step 1   2.000 s an iteration, 0:00:04", "expected 0:00:04, validation not counted"]


def test_the_time_expected_is_the_sum_of_the_steps(monkeypatch):
    monkeypatch.setattr(plan, "_iteration_seconds", lambda plan, habits, step, accelerator: 10.0 * step.number)
    steps = (small_step(1, iterations=12), small_step(3, iterations=16))
    lines = list(plan.describe(Plan(steps), Habits(), 5.0, Accelerator(cpu=True)))
    # 120 s and 480 s, of which 5 minutes are a half.
    assert lines[-2:] == [
        "expected 0:10:00, validation not counted",
        "minutes  5, in which 50% of each step's iterations fit",
    ]
    assert "12 iterations of 4 patches of 40x40" in lines[3]
    # The plan stands before the first iteration is timed.
    assert [line.partition(" ")[0] for line in lines[3:8]] == ["step", "step", "timing", "step", "step"]
    assert lines[6].endswith("10.000 s an iteration, 0:02:00")


def test_a_set_without_hr_images_is_refused(tmp_path):
    write_png(tmp_path / "LR" / "a.png", np.zeros((12, 12, 3), np.uint8))
    with pytest.raises(Exception, match=r"--validate .*LR: expected HR images, found LR folder"):
        open_set(Path(tmp_path / "LR"))
    with pytest.raises(UsageError, match=r"^--images .*LR: expected HR images, found LR folder"):
        open_set(tmp_path / "LR", "--images")
    assert not open_set(tmp_path / "LR", "--images", needs_hr=False).has_hr


def test_a_set_in_two_layouts_is_told_by_the_folder_that_was_given(tmp_path):
    for half, side in (("HR", 48), ("LR", 12), ("LR_bicubic/X4", 12)):
        write_png(tmp_path / "S" / half / "a.png", np.zeros((side, side, 3), np.uint8))
    told = said(UsageError, open_set, tmp_path / "S")
    assert told.startswith(f"--validate {tmp_path / 'S'}: holds S in more than one layout: ")


def test_a_path_is_told_as_it_is_whatever_its_name(tmp_path):
    folder = tmp_path / "of--data_dir"
    expected = f"--validate {folder}: no such folder; expected the path of a set's folder, as $ESR_DATA/Set5"
    assert said(UsageError, open_set, folder) == expected
