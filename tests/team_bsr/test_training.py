"""The loop: what it computes, how it goes on after a kill, over processes, and when it must stop."""

import math
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from eval.data.images import write_png
from eval.errors import RunError, UsageError
from eval.words import counted
from models.team08_ABPN import ABPN
from team_bsr import training
from team_bsr.checkpoint import (
    build_network,
    checkpoints,
    load_checkpoint,
    load_network,
    rotate,
    save_checkpoint,
    weights_content,
    write_weights,
)
from team_bsr.data import open_pairs
from team_bsr.losses import LOSSES
from team_bsr.network import TrainingPFDNLite, reparameterize
from team_bsr.optimisation import MovingAverage
from team_bsr.patches import PatchBatches, Sampling
from team_bsr.plan import Habits, Plan, Run, accelerator_of, precision_here
from team_bsr.progress import Progress
from team_bsr.pruning import prune
from team_bsr.recipe import Step
from team_bsr.resuming import alone_in
from team_bsr.sources import Sources
from team_bsr.survey import survey
from team_bsr.trainees import TRAINEES
from team_bsr.training import TrainingError, first_network, train
from team_bsr.validation import open_set, validate
from tests.conftest import PROJECT
from tests.rounding import rounding
from tests.team_bsr.test_network import ADDITIONS

TOML = """
stage = {stage}
hr_patch = 40
batch = 4
loss = "{loss}"
rate = {rate}
halve_every = {iterations}
iterations = {iterations}
optimizer = "{optimizer}"
"""


@pytest.fixture
def images(tmp_path):
    """Four smooth images, which a network can learn from."""
    grid = np.linspace(0, 6, 64)
    for number in range(4):
        waves = [np.sin(np.add.outer(grid * (number + 1), grid * colour)) for colour in (1, 2, 3)]
        write_png(tmp_path / "hr" / f"{number}.png", np.uint8(np.stack(waves, -1) * 100 + 128))
    return tmp_path / "hr"


@pytest.fixture
def pairs(images, tmp_path):
    return open_pairs(survey(Sources((images,))), tmp_path / "cache")


def recipe(folder: Path, iterations=(4, 2, 2, 3), rate=1e-3) -> Path:
    """Write a recipe of four short steps."""
    folder.mkdir()
    for number, loss in enumerate(("l1", "charbonnier", "mse", "mse"), start=1):
        keys = {"stage": 2, "optimizer": "muon"} if number == 4 else {"stage": 1, "optimizer": "adamw"}
        text = TOML.format(**keys, loss=loss, rate=rate, iterations=iterations[number - 1])
        (folder / f"step{number}.toml").write_text(text)
    return folder


def command(run_dir: Path, images: Path, recipe: Path, *more: str, processes: int = 1) -> list[str]:
    launch = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"] if processes > 1 else []
    options = ["--run_dir", run_dir, "--data", images, "--recipe", recipe, "--cpu", *more]
    return [sys.executable, *launch, "-m", "team_bsr", "train", *map(str, options)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}


def run_command(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=600)


def small_step(number=1, **changes) -> Step:
    keys = {"stage": 1, "hr_patch": 40, "batch": 4, "loss": "l1", "rate": 1e-3, "halve_every": 5, "iterations": 10}
    return Step(number, **{**keys, **changes})


def test_two_iterations_are_adamw_s_on_the_patches_of_their_number(pairs, tmp_path):
    """The loop against a plain one written here, of the multi-branch network; no option has its default."""
    options = {"loss": "mse", "betas": (0.8, 0.9), "weight_decay": 0.5, "ema": 0.05}
    step, seed = small_step(2, iterations=2, halve_every=1, **options), 3
    last = train(Plan((step,), seed), Habits(), Run(tmp_path / "run", pairs), Accelerator(cpu=True))
    torch.manual_seed(seed)
    network = TrainingPFDNLite(multi_branch=True)
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.8, 0.9), weight_decay=0.5)
    averaged = None
    for iteration, rate in ((0, 1e-3), (1, 5e-4)):
        lr, hr = (part / 255 for part in PatchBatches(pairs, Sampling(step, seed))[iteration])
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (network(lr) - hr).square().mean().backward()
        optimizer.step()
        now = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        # The average starts as the first weights.
        averaged = now if averaged is None else averaged * 0.05 + now * 0.95
    state = load_checkpoint(last)
    trained = torch.cat([state["network"][name].flatten() for name, _ in network.named_parameters()])
    kept = torch.cat([state["ema"][name].flatten() for name, _ in network.named_parameters()])
    # Adam divides by a gradient's own size, so tiny gradients may differ by a whole step; nearly all must agree.
    assert ((trained - now).abs() < 1e-6).float().mean() > 0.99
    assert ((kept - averaged).abs() < 1e-6).float().mean() > 0.99


def test_images_on_the_device_give_the_same_weights_also_after_a_kill(pairs, tmp_path):
    plan, cpu = Plan((small_step(iterations=6),), network="abpn"), Accelerator(cpu=True)
    usual = train(plan, Habits(), Run(tmp_path / "usual", pairs), cpu)
    habits, run = Habits(checkpoint_every=3, resident=True), Run(tmp_path / "resident", pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("team_bsr.training._StepTrainer._check", _stop_at(4))
        with pytest.raises(KeyboardInterrupt):
            train(plan, habits, run, cpu)
    resident = train(plan, habits, run, cpu)
    expected, found = (load_checkpoint(path)["ema"] for path in (usual, resident))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def _stop_at(iteration: int):
    def check(trainer, _loss) -> None:
        if trainer.iteration == iteration:
            raise KeyboardInterrupt

    return check


def test_training_learns_and_tells(images, pairs, tmp_path, capsys):
    plan = Plan((small_step(iterations=60, halve_every=60),))
    habits = Habits(log_every=25, validate_every=25, checkpoint_every=25, keep=2)
    train(plan, habits, Run(tmp_path / "run", pairs, [open_set(images)]), Accelerator(cpu=True))
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    psnr = events.Scalars("step1/psnr_db/hr")
    assert [event.step for event in psnr] == [25, 50, 60]
    assert psnr[2].value > psnr[0].value
    assert [event.step for event in events.Scalars("step1/loss")] == [25, 50, 60]
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step1-0000050.ckpt", "step1-0000060.ckpt"]
    last = load_checkpoint(checkpoints(tmp_path / "run")[-1])
    assert last["psnr_db"]["hr"] == pytest.approx(psnr[2].value, abs=1e-4)
    # The average, which is what ships, and not the weights that are trained, was validated.
    sets = [open_set(images)]
    assert last["psnr_db"] == validate(build_network(last), sets)
    assert last["psnr_db"] != validate(build_network({**last, "ema": last["network"]}), sets)
    assert "step 1  50/60  l1 0." in capsys.readouterr().out


def test_progress_counts_from_where_a_step_goes_on(tmp_path, capsys, monkeypatch):
    steps = (small_step(iterations=100, halve_every=100), small_step(2, batch=2, hr_patch=80, iterations=50))
    progress = Progress(tmp_path, steps, active=True)
    clock = iter((10.0, 12.0))
    monkeypatch.setattr("team_bsr.progress.monotonic", lambda: next(clock))
    progress.begin(60, 60)
    progress.report(steps[0], 70, 70, 0.5)
    progress.close()
    # 10 iterations of 4 patches in 2 s; 30 more take 6 s, and 50 of half the batch and four times the pixels take 20 s.
    expected = "step 1  70/100  l1 0.50000  rate 1.00e-03  20.0 patches/s  step ends in 0:00:06, all in 0:00:26"
    assert expected in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
def test_a_reader_that_goes_ends_no_training(tmp_path, monkeypatch):
    """As ``tee`` does when its terminal is closed."""
    progress, (reading, writing) = Progress(tmp_path, (step := small_step(),), active=True), os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        for iteration in (1, 2):
            progress.report(step, iteration, iteration, 0.5)
            progress.validated(step, iteration, {"Set5": 30.0})
        progress.close()
        pipe.write("at the end")


def test_two_reports_at_one_position_leave_the_time_open(tmp_path, capsys, monkeypatch):
    """As where minutes are limited, each iteration is reported, and one takes less time than it counts for."""
    step = small_step(batch=2, iterations=1190)
    progress = Progress(tmp_path, (step,), active=True)
    clock = iter((10.0, 12.0, 14.0, 16.0))
    monkeypatch.setattr("team_bsr.progress.monotonic", lambda: next(clock))
    progress.begin(1000, 1100)
    progress.report(step, 1001, 1100, 0.1)
    # The step's end is known all the same.
    progress.begin(1000, 1190)
    progress.report(step, 1001, 1190, 0.1)
    progress.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("1.0 patches/s  step ends in an unknown time, all in an unknown time")
    assert second.endswith("step ends in 0:00:00, all in 0:00:00")


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = load_checkpoint(a), load_checkpoint(b)
    for name in ("step", "iteration"):
        assert first[name] == second[name]
    for part in ("network", "ema"):
        for key, value in first[part].items():
            assert torch.equal(value, second[part][key]), key
    for its, other in zip(first["optimizer"], second["optimizer"], strict=True):
        for key, moments in its["state"].items():
            for name, value in moments.items():
                assert torch.equal(value, other["state"][key][name]), (key, name)


def test_a_run_killed_twice_ends_with_the_weights_of_one_that_was_not(images, tmp_path):
    steps = recipe(tmp_path / "recipe", iterations=(5, 3, 3, 5))
    options = ("--checkpoint_every", "2", "--precision", "bf16")
    whole = run_command(command(tmp_path / "whole", images, steps, *options))
    assert whole.returncode == 0, whole.stderr
    for seen in ("step1-0000002.ckpt", "step4-0000002.ckpt"):
        at = ("-m", "tests.signalled", "SIGKILL", "team_bsr.training.save_checkpoint", seen)
        python, *rest = command(tmp_path / "killed", images, steps, *options)
        assert run_command([python, *at, *rest]).returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "step3-0000003.ckpt").exists()
    resumed = run_command(command(tmp_path / "killed", images, steps, *options))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_weights(tmp_path / "whole" / "step4-0000005.ckpt", tmp_path / "killed" / "step4-0000005.ckpt")
    assert load_checkpoint(tmp_path / "killed" / "step4-0000005.ckpt")["pruned_blocks"] == [2, 3]


def test_a_run_gone_on_with_inside_and_between_steps_is_the_same(pairs, tmp_path):
    """With ABPN, which is quick; the second step starts from the first one's average."""
    plan = Plan((small_step(iterations=5), small_step(2, iterations=5)), network="abpn")
    habits = Habits(checkpoint_every=2, keep=9)
    whole = train(plan, habits, Run(tmp_path / "whole", pairs), Accelerator(cpu=True))
    for newest in ("step1-0000002.ckpt", "step1-0000005.ckpt", "step2-0000002.ckpt"):
        kept = [path for path in checkpoints(tmp_path / "whole") if path.name <= newest]
        folder = tmp_path / newest
        folder.mkdir()
        for path in kept:
            (folder / path.name).write_bytes(path.read_bytes())
        assert_same_weights(whole, train(plan, habits, Run(folder, pairs), Accelerator(cpu=True)))
    still = Plan((small_step(iterations=5), small_step(2, iterations=1, rate=1e-12)), network="abpn")
    for path in (tmp_path / "step1-0000005.ckpt").glob("step2-*"):
        path.unlink()
    last = train(still, habits, Run(tmp_path / "step1-0000005.ckpt", pairs), Accelerator(cpu=True))
    average = load_checkpoint(tmp_path / "whole" / "step1-0000005.ckpt")["ema"]
    for key, value in load_checkpoint(last)["network"].items():
        assert (value - average[key]).abs().max() < 1e-9, key


def test_two_processes_take_the_gradient_of_one(images, tmp_path):
    """After one iteration AdamW's first moment is (1 - beta1) times the gradient."""
    steps = recipe(tmp_path / "recipe", iterations=(1, 1, 1, 1))
    gradients = []
    for processes in (1, 2):
        run_dir = tmp_path / str(processes)
        result = run_command(command(run_dir, images, steps, "--steps", "1", "--minutes", "1e6", processes=processes))
        assert result.returncode == 0, result.stderr
        assert counted(processes, "process") in result.stdout
        state = load_checkpoint(run_dir / "step1-0000001.ckpt")["optimizer"][0]["state"]
        gradients.append(torch.cat([state[key]["exp_avg"].flatten() / (1 - 0.9) for key in sorted(state)]))
    assert gradients[0].abs().max() > 1e-3
    # Sums over 4 patches of 40x40 pixels and along the network, which two processes take in another order.
    limit = rounding(torch.float32, 4 * 40 * 40 + 2 * ADDITIONS, gradients[0].abs().max().item())
    assert (gradients[0] - gradients[1]).abs().max() < limit


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(pairs, tmp_path):
    run = Run(tmp_path / "run", pairs)
    train(Plan((small_step(iterations=2),)), Habits(), run, Accelerator(cpu=True))
    steps = (small_step(iterations=2), small_step(2, rate=1e30, iterations=9))
    with pytest.raises(TrainingError, match=r"step 2, iteration [23].*last good checkpoint is .*step1-0000002\.ckpt"):
        train(Plan(steps), Habits(), run, Accelerator(cpu=True))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_any_loss_that_is_not_finite_stops(pairs, tmp_path, monkeypatch, value):
    monkeypatch.setitem(LOSSES, "l1", lambda sr, hr: (sr - hr).mean() + value)
    plan = Plan((small_step(iterations=1),), network="abpn")
    with pytest.raises(TrainingError, match=rf"iteration 1: the loss is {value}; no checkpoint was written before"):
        train(plan, Habits(), Run(tmp_path / "run", pairs), Accelerator(cpu=True))


def test_the_average_s_decay_by_hand():
    """It warms up as (1 + n) / (10 + n), to 2/11 and 3/12, until it reaches its limit."""
    network = torch.nn.BatchNorm1d(1, affine=True)
    average = MovingAverage(network, 0.2)
    for updates, expected in ((0, 0.0), (1, 2 / 11), (2, 0.2), (1000, 0.2)):
        for parameter, value in ((average.module.weight, 1.0), (network.weight, 0.0), (network.running_mean, updates)):
            parameter.data.fill_(value)
        average.update(updates)
        assert average.module.weight.item() == pytest.approx(expected, abs=1e-6)
        # What is no parameter is taken as it is.
        assert average.module.running_mean.item() == updates


def test_a_step_s_rules_reach_its_patches_and_its_pruning(pairs, tmp_path, monkeypatch):
    seen = []
    catch = lambda pairs, sampling: seen.append(sampling) or PatchBatches(pairs, sampling)  # noqa: E731
    monkeypatch.setattr("team_bsr.training.PatchBatches", catch)
    step = small_step(
        4, stage=2, iterations=1, rate=1e-12, rule="first", draw="detail", batch=2, hr_patch=44, permute_channels=True
    )
    last = train(Plan((step,), seed=6), Habits(), Run(tmp_path / "run", pairs), Accelerator(cpu=True))
    assert seen == [Sampling(step, seed=6, rank=0, world=1)]
    torch.manual_seed(6)
    expected = prune(TrainingPFDNLite(), "first").state_dict()
    for key, value in load_checkpoint(last)["network"].items():
        assert (value - expected[key]).abs().max() < 1e-9, key


def test_checkpoints_are_ordered_and_rotated_by_step_then_iteration(tmp_path):
    names = ["step1-0000009.ckpt", "step2-0000001.ckpt", "step2-0000003.ckpt", "step2-0000010.ckpt", "other.ckpt"]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in checkpoints(tmp_path)] == names[:4]
    rotate(tmp_path, 2, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == [names[0], *names[2:4]]


def test_a_run_of_before_a_setting_was_there_goes_on(pairs, tmp_path):
    run, step = Run(tmp_path / "run", pairs), small_step(iterations=2)
    last = train(Plan((step,)), Habits(), run, Accelerator(cpu=True))
    state = load_checkpoint(last)
    for written in state["plan"]["steps"]:
        del written["permute_channels"]
    save_checkpoint(last, state)
    assert train(Plan((step,)), Habits(), run, Accelerator(cpu=True)) == last


def test_a_run_whose_plan_is_refused_today_is_told_by_step_and_key(pairs, tmp_path):
    run, plan = Run(tmp_path / "run", pairs), Plan((small_step(iterations=1),))
    last = train(plan, Habits(), run, Accelerator(cpu=True))
    state = load_checkpoint(last)
    state["plan"]["steps"][0].update(hr_patch=32, dropped=1)
    save_checkpoint(last, state)
    with pytest.raises(TrainingError) as refused:
        train(plan, Habits(), run, Accelerator(cpu=True))
    assert str(refused.value) == (
        f"{last} is of a run whose plan is refused today: step 1: hr_patch: expected a number of at least 40, got 32; "
        f"dropped: expected no such key, got 1; use a new --run_dir, where --start {last} goes on from its weights"
    )


def test_ctrl_c_waits_for_the_end_of_an_iteration_and_loses_none(pairs, tmp_path, capsys, monkeypatch):
    plan, cpu = Plan((small_step(iterations=4),), network="abpn"), Accelerator(cpu=True)
    usual, run = train(plan, Habits(), Run(tmp_path / "usual", pairs), cpu), Run(tmp_path / "stopped", pairs)
    capsys.readouterr()
    update, stopped_at = MovingAverage.update, tmp_path / "stopped" / "step1-0000003.ckpt"
    for number, made in ((0, tmp_path / "stopped" / "step1-0000001.ckpt"), (2, stopped_at)):

        def stop(self, iteration, number=number):
            # After the weights of this iteration, and before their average.
            if iteration == number:
                os.kill(os.getpid(), signal.SIGINT)
            update(self, iteration)

        monkeypatch.setattr(MovingAverage, "update", stop)
        with pytest.raises(KeyboardInterrupt):
            train(plan, Habits(), run, cpu)
        assert capsys.readouterr().out.endswith(
            f"stopped: the last good checkpoint is {made}; the same command goes on\n"
        )
    monkeypatch.setattr(MovingAverage, "update", update)
    assert_same_weights(usual, train(plan, Habits(), run, cpu))
    assert capsys.readouterr().out.startswith(f"goes on from {stopped_at}\n")


def test_a_validation_that_ctrl_c_breaks_off_leaves_no_psnr_of_former_weights_and_is_done_again(
    images, pairs, tmp_path, monkeypatch
):
    plan, cpu, sets = Plan((small_step(iterations=4),), network="abpn"), Accelerator(cpu=True), [open_set(images)]
    habits = Habits(validate_every=2)
    whole = train(plan, habits, Run(tmp_path / "whole", pairs, sets), cpu)
    run, done = Run(tmp_path / "stopped", pairs, sets), []

    def broken_off(network, sets):
        done.append(len(done))
        if len(done) == 2:
            raise KeyboardInterrupt
        return validate(network, sets)

    monkeypatch.setattr("team_bsr.training.validate", broken_off)
    with pytest.raises(KeyboardInterrupt):
        train(plan, habits, run, cpu)
    assert load_checkpoint(tmp_path / "stopped" / "step1-0000004.ckpt")["psnr_db"] == {}
    assert load_checkpoint(train(plan, habits, run, cpu))["psnr_db"] == load_checkpoint(whole)["psnr_db"] != {}
    train(plan, habits, run, cpu)
    assert len(done) == 3


def test_a_second_ctrl_c_waits_for_the_checkpoint_that_the_first_one_asked_for(pairs, tmp_path, monkeypatch):
    def impatient(path, state):
        os.kill(os.getpid(), signal.SIGINT)
        save_checkpoint(path, state)

    monkeypatch.setattr("team_bsr.training._StepTrainer._check", _stop_at(2))
    monkeypatch.setattr("team_bsr.training.save_checkpoint", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(Plan((small_step(),), network="abpn"), Habits(), Run(tmp_path, pairs), Accelerator(cpu=True))
    assert [path.name for path in checkpoints(tmp_path)] == ["step1-0000002.ckpt"]


def test_ctrl_c_before_the_first_iteration_leaves_no_checkpoint(pairs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("team_bsr.training._StepTrainer._batches", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(Plan((small_step(),), network="abpn"), Habits(), Run(tmp_path / "run", pairs), Accelerator(cpu=True))
    assert not checkpoints(tmp_path / "run")
    assert "stopped: no checkpoint was written before;" in capsys.readouterr().out


def _interrupted(_trainer):
    raise KeyboardInterrupt


def test_one_training_at_a_time_runs_in_a_folder(pairs, tmp_path):
    plan, cpu, run = Plan((small_step(iterations=1),), network="abpn"), Accelerator(cpu=True), Run(tmp_path, pairs)
    with alone_in(tmp_path), pytest.raises(UsageError, match="another training runs there; use a new --run_dir"):
        train(plan, Habits(), run, cpu)
    assert not checkpoints(tmp_path)
    assert train(plan, Habits(), run, cpu).exists()


def test_a_run_goes_on_with_its_own_plan_only_but_later_steps_may_change(images, pairs, tmp_path):
    run, first = Run(tmp_path / "run", pairs), small_step(iterations=1)
    train(Plan((first,)), Habits(), run, Accelerator(cpu=True))
    for other, told in (
        (Plan((first,), seed=1), "seed was 0, now is 1; use a new --run_dir"),
        (Plan((small_step(iterations=2),)), "step 1: iterations was 1, now is 2; use a new --run_dir"),
        (Plan((small_step(2, iterations=1),)), "steps was 1, now is none; use a new --run_dir"),
    ):
        with pytest.raises(TrainingError, match=f"another plan: {told}"):
            train(other, Habits(), run, Accelerator(cpu=True))
    write_png(images / "4.png", np.zeros((64, 64, 3), np.uint8))
    more = open_pairs(survey(Sources((images,))), tmp_path / "cache")
    with pytest.raises(TrainingError, match=r"step1-0000001\.ckpt is of a run on other images"):
        train(Plan((first,)), Habits(), Run(run.folder, more), Accelerator(cpu=True))
    last = train(Plan((first, small_step(2, iterations=1))), Habits(), run, Accelerator(cpu=True))
    assert last.name == "step2-0000001.ckpt"


def test_a_run_goes_on_with_its_own_start_only(pairs, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        torch.manual_seed(seed)
        write_weights(ABPN(), tmp_path / f"{name}.safetensors")
    first, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    plan, cpu = Plan((small_step(iterations=1),), network="abpn"), Accelerator(cpu=True)
    begun = lambda start: train(plan, Habits(), Run(tmp_path / "run", pairs, start=start), cpu)  # noqa: E731
    last = begun(first)
    assert load_checkpoint(last)["start"] == sha256(first.read_bytes()).hexdigest()
    refused = r"step1-0000001\.ckpt is of a run with another --start: it began from a file of SHA-256 \w{64}, now"
    with pytest.raises(TrainingError, match=rf"{refused} --start is .*b\.safetensors, a file of SHA-256 \w"):
        begun(other)
    with pytest.raises(TrainingError, match=rf"{refused} --start is left out, random weights; use a new"):
        begun(None)
    # The same weights under another name are the same start.
    other.write_bytes(first.read_bytes())
    assert begun(other) == last


def test_a_run_from_random_weights_goes_on_without_a_start_only(pairs, tmp_path):
    write_weights(ABPN(), tmp_path / "start.safetensors")
    plan, cpu = Plan((small_step(iterations=1),), network="abpn"), Accelerator(cpu=True)
    run = Run(tmp_path / "run", pairs)
    last = train(plan, Habits(), run, cpu)
    assert load_checkpoint(last)["start"] is None
    started = replace(run, start=tmp_path / "start.safetensors")
    with pytest.raises(TrainingError, match="it began from random weights, now --start is"):
        train(plan, Habits(), started, cpu)
    state = load_checkpoint(last)
    del state["start"]
    save_checkpoint(last, state)
    assert train(plan, Habits(), started, cpu) == last


def test_a_step_may_start_from_a_pruned_checkpoint_but_not_stage_1(pairs, tmp_path):
    first = train(Plan((small_step(iterations=1),)), Habits(), Run(tmp_path / "a", pairs), Accelerator(cpu=True))
    plan = Plan((small_step(4, stage=2, iterations=1, rate=1e-12),))
    second = train(plan, Habits(), Run(tmp_path / "b", pairs, start=first), Accelerator(cpu=True))
    weights, source = load_checkpoint(second)["ema"], load_checkpoint(first)["ema"]
    assert torch.allclose(weights["block2.conv1.0.mix.weight"], source["block2.conv1.0.mix.weight"], atol=1e-9)
    with pytest.raises(TrainingError, match="--start is pruned already"):
        train(Plan((small_step(),)), Habits(), Run(tmp_path / "c", pairs, start=second), Accelerator(cpu=True))


@pytest.mark.parametrize("form", ["training", "deploy", "released"])
def test_a_step_starts_from_weights_in_either_form(pairs, tmp_path, form):
    """With a rate of almost 0 it ends with the function it started from; float16 keeps 11 bits."""
    torch.manual_seed(5)
    source = TrainingPFDNLite(pruned_blocks=(2, 3))
    fused = reparameterize(source).state_dict()
    file = tmp_path / "start.safetensors"
    if form == "training":
        file.write_bytes(weights_content(source, torch.float16, {"step": "4"}))
    elif form == "deploy":
        write_weights(reparameterize(source), file)
    else:
        file = tmp_path / "start.pth"
        torch.save({"params": fused}, file)
    plan = Plan((small_step(4, stage=2, iterations=1, rate=1e-12),))
    last = train(plan, Habits(), Run(tmp_path / "run", pairs, start=file), Accelerator(cpu=True))
    ended = reparameterize(load_network(last)).state_dict()
    for key, value in fused.items():
        assert (ended[key] - value).abs().max() < 2e-3 * max(value.abs().max(), 1e-2), key
    # The branches around given weights are the seed's.
    again = train(plan, Habits(), Run(tmp_path / "again", pairs, start=file), Accelerator(cpu=True))
    assert_same_weights(last, again)


def test_weights_of_another_network_are_no_start(tmp_path):
    write_weights(torch.nn.Linear(2, 2), tmp_path / "other.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    with pytest.raises(
        FileNotFoundError, match=r"absent\.pth: expected a training checkpoint, or weights .*, found no such"
    ):
        load_network(tmp_path / "absent.pth")
    for name in ("other", "damaged"):
        with pytest.raises(RunError, match=rf"{name}\.safetensors: expected a training checkpoint, or weights of pfdn"):
            load_network(tmp_path / f"{name}.safetensors")


def test_a_checkpoint_of_another_network_is_no_start(pairs, tmp_path):
    plan = Plan((small_step(iterations=1),), network="abpn")
    last = train(plan, Habits(), Run(tmp_path / "abpn", pairs), Accelerator(cpu=True))
    with pytest.raises(RunError, match=r"step1-0000001\.ckpt: expected weights of pfdnlite, got those of abpn"):
        train(Plan((small_step(),)), Habits(), Run(tmp_path / "a", pairs, start=last), Accelerator(cpu=True))


class Clock:
    """Seconds that pass by the iteration, in place of the time."""

    def __init__(self, monkeypatch, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr("team_bsr.training.time.monotonic", self.tick)

    def tick(self) -> float:
        self.now += self.seconds
        return self.now


def test_minutes_end_every_step_in_its_share_and_the_rate_goes_with_them(pairs, tmp_path, monkeypatch):
    """60 s for 10 iterations of 4 patches and 20 of 8: 12 s and 48 s, at 3 s an iteration.

    So step 1 stands at 2.5, 5, 7.5 and 10 of its 10 iterations after 1, 2, 3 and 4, and step 2 ends after 16.
    """
    Clock(monkeypatch, 3.0)
    plan = Plan((small_step(halve_every=5), small_step(2, batch=8, halve_every=10, iterations=20)), network="abpn")
    run = Run(tmp_path / "run", pairs, minutes=1)
    last = train(plan, Habits(log_every=1), run, Accelerator(cpu=True))
    first, second = (load_checkpoint(path) for path in checkpoints(tmp_path / "run"))
    assert (first["step"], first["iteration"], first["elapsed_s"]) == (1, 4, 12.0)
    assert (second["step"], second["iteration"], second["began_s"], second["elapsed_s"]) == (2, 16, 12.0, 60.0)
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert first["optimizer"][0]["param_groups"][0]["lr"] == 5e-4
    rates = [event.value for event in events.Scalars("step1/rate")]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4])
    assert [event.step for event in events.Scalars("step2/rate")] == list(range(1, 17))
    # The same command again has nothing left to do.
    assert train(plan, Habits(), run, Accelerator(cpu=True)) == last
    assert len(checkpoints(tmp_path / "run")) == 2


def test_a_run_with_minutes_goes_on_with_the_time_it_has_left(pairs, tmp_path, monkeypatch):
    """20 iterations of 3 s fit, ten a step; the run is cut back inside the second."""
    Clock(monkeypatch, 3.0)
    plan = Plan((small_step(iterations=100), small_step(2, iterations=100, halve_every=50)), network="abpn")
    run = Run(tmp_path / "run", pairs, minutes=1)
    whole = load_checkpoint(train(plan, Habits(checkpoint_every=3, keep=9), run, Accelerator(cpu=True)))
    names = [f"step{step}-{n:07d}.ckpt" for step in (1, 2) for n in (3, 6, 9, 10)]
    assert [path.name for path in checkpoints(run.folder)] == names
    for name in names[-3:]:
        (run.folder / name).unlink()
    last = train(plan, Habits(), run, Accelerator(cpu=True))
    state = load_checkpoint(last)
    assert (last.name, state["began_s"], state["elapsed_s"]) == (names[-1], 30.0, 60.0)
    assert_same_weights(last, state_file(tmp_path / "whole.ckpt", whole))


def state_file(path: Path, state: dict) -> Path:
    save_checkpoint(path, state)
    return path


def test_minutes_that_are_not_reached_change_nothing(pairs, tmp_path):
    plan = Plan((small_step(iterations=3),), network="abpn")
    runs = [Run(tmp_path / str(minutes), pairs, minutes=minutes) for minutes in (None, 1e6)]
    assert_same_weights(*(train(plan, Habits(), run, Accelerator(cpu=True)) for run in runs))


@pytest.mark.parametrize(
    ("asked", "gain", "taken"), [("auto", 2.8, "bf16"), ("auto", 1.4, "no"), ("bf16", 0.1, "bf16")]
)
def test_auto_is_bf16_where_that_is_faster(monkeypatch, tmp_path, asked: str, gain: float, taken: str):
    monkeypatch.setattr("team_bsr.plan.half_precision_gain", lambda _device, _precision: gain)
    assert precision_here(asked, True, tmp_path) == taken


@pytest.mark.parametrize("first", [True, False])
def test_of_several_processes_the_first_one_measures_for_all_on_its_own_device(monkeypatch, tmp_path, first: bool):
    """Each by itself they would all measure on the first GPU, disturb each other there, and differ."""
    asked, own = [], torch.device("cuda", 1)
    state = SimpleNamespace(device=own, is_main_process=first)
    monkeypatch.setattr("team_bsr.plan.PartialState", lambda cpu, timeout: state)
    monkeypatch.setattr("team_bsr.plan.half_precision_gain", lambda device, _precision: asked.append(device) or 2.0)

    def told_by_the_first(told: list) -> None:
        told[:] = told if first else ["bf16"]

    monkeypatch.setattr("team_bsr.plan.broadcast_object_list", told_by_the_first)
    assert precision_here("auto", False, tmp_path) == "bf16"
    assert asked == [own] * first


def test_processes_wait_as_long_as_the_first_one_decodes():
    """By default they give up after ten minutes on GPUs, and the first one begins again from nothing."""
    assert accelerator_of(True, Plan(())).init_handler.timeout == timedelta(days=1)


def test_a_run_that_goes_on_keeps_its_precision(monkeypatch, tmp_path):
    """A gain near the limit falls on this side once and on that side another time."""
    torch.save({"plan": {"precision": "bf16"}}, tmp_path / "step4-0000100.ckpt")
    monkeypatch.setattr("team_bsr.plan.load_checkpoint", torch.load)
    monkeypatch.setattr("team_bsr.plan.checkpoints", lambda folder: sorted(folder.glob("*.ckpt")))
    monkeypatch.setattr("team_bsr.plan.half_precision_gain", lambda *_: 0.5)
    assert precision_here("auto", True, tmp_path) == "bf16"


@pytest.mark.parametrize(
    ("asked", "device", "processes", "expected"),
    [
        (None, "cuda", 1, 8),
        (None, "cuda", 4, 4),
        (None, "cpu", 1, 0),
        (None, "mps", 1, 0),
        (3, "cpu", 1, 3),
        (0, "cuda", 1, 0),
    ],
)
def test_patches_are_cut_beside_a_gpu_that_would_wait_for_them(monkeypatch, asked, device, processes, expected):
    monkeypatch.setattr(training, "usable_cpus", lambda: 16)
    told = SimpleNamespace(device=torch.device(device), num_processes=processes)
    assert training._workers(asked, told) == expected


def test_what_is_drawn_at_first_leaves_gpus_alone(monkeypatch):
    """torch forks the state of every card that it sees, with a warning where there are several."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("get_rng_state", "set_rng_state", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, lambda *_given, name=name: pytest.fail(name))
    plan = Plan((small_step(),), seed=5, network="abpn")
    before = torch.get_rng_state()
    with warnings.catch_warnings(action="error"):
        drawn, again = (first_network(plan.steps[0], plan, None, None).state_dict() for _ in range(2))
        forms = TRAINEES["abpn"].forms()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(weights, again[name]) for name, weights in drawn.items())
    assert len(forms) == 2
