"""The loop: what it computes, how it goes on after a kill, over processes, and when it must stop."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from eval.images import write_png
from team_bsr.checkpoint import checkpoints, load_checkpoint
from team_bsr.data import open_pairs
from team_bsr.network import TrainingPFDNLite
from team_bsr.patches import PatchBatches, Sampling
from team_bsr.plan import Habits, Plan, Run
from team_bsr.progress import Progress
from team_bsr.recipe import Step
from team_bsr.sources import Sources
from team_bsr.training import TrainingError, train
from team_bsr.validation import open_set
from tests.rounding import rounding
from tests.test_team_bsr_network import ADDITIONS

PROJECT = Path(__file__).resolve().parent.parent
TOML = """
stage = {stage}
hr_patch = 40
batch = 4
loss = "{loss}"
rate = {rate}
halve_every = {iterations}
iterations = {iterations}
"""


@pytest.fixture
def images(tmp_path):
    """Four smooth images, which a network can learn from."""
    grid = np.linspace(0, 6, 64)
    for number in range(4):
        waves = [np.sin(np.add.outer(grid * (number + 1), grid * colour)) for colour in (1, 2, 3)]
        write_png(tmp_path / "hr" / f"{number}.png", np.uint8(np.stack(waves, -1) * 100 + 128))
    return tmp_path / "hr"


def recipe(folder: Path, iterations=(4, 2, 2, 3), rate=1e-3) -> Path:
    """Write a recipe of four short steps."""
    folder.mkdir()
    for number, loss in enumerate(("l1", "charbonnier", "mse", "mse"), start=1):
        text = TOML.format(stage=2 if number == 4 else 1, loss=loss, rate=rate, iterations=iterations[number - 1])
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


def test_two_iterations_are_adamw_s_on_the_patches_of_their_number(images, tmp_path):
    """The loop against a plain one written here, of the multi-branch network."""
    step, seed = small_step(iterations=2, halve_every=1), 3
    pairs = open_pairs(Sources((images,)), tmp_path / "cache")
    last = train(Plan((step,), seed), Habits(), Run(tmp_path / "run", pairs), Accelerator(cpu=True))
    torch.manual_seed(seed)
    network = TrainingPFDNLite(multi_branch=True)
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
    averaged = None
    for iteration, rate in ((0, 1e-3), (1, 5e-4)):
        lr, hr = (part / 255 for part in PatchBatches(pairs, Sampling(4, 40, seed, 1))[iteration])
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (network(lr) - hr).abs().mean().backward()
        optimizer.step()
        now = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        # The average starts as the first weights; after one update its decay is (1 + 1) / (10 + 1).
        averaged = now if averaged is None else averaged * 2 / 11 + now * 9 / 11
    state = load_checkpoint(last)
    trained = torch.cat([state["network"][name].flatten() for name, _ in network.named_parameters()])
    kept = torch.cat([state["ema"][name].flatten() for name, _ in network.named_parameters()])
    # Adam divides by a gradient's own size, so tiny gradients may differ by a whole step; nearly all must agree.
    assert ((trained - now).abs() < 1e-6).float().mean() > 0.99
    assert ((kept - averaged).abs() < 1e-6).float().mean() > 0.99


def test_training_learns_and_tells(images, tmp_path, capsys):
    pairs = open_pairs(Sources((images,)), tmp_path / "cache")
    plan = Plan((small_step(iterations=60, halve_every=60),))
    habits = Habits(log_every=20, validate_every=30, checkpoint_every=20, keep=2)
    train(plan, habits, Run(tmp_path / "run", pairs, [open_set(images)]), Accelerator(cpu=True))
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    psnr = events.Scalars("step1/psnr_db/hr")
    assert [event.step for event in psnr] == [30, 60]
    assert psnr[1].value > psnr[0].value
    assert [event.step for event in events.Scalars("step1/loss")] == [20, 40, 60]
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step1-0000040.ckpt", "step1-0000060.ckpt"]
    assert load_checkpoint(checkpoints(tmp_path / "run")[-1])["psnr_db"]["hr"] == pytest.approx(psnr[1].value, abs=1e-4)
    assert "step 1  40/60  l1 0." in capsys.readouterr().out


def test_progress_counts_from_where_a_step_goes_on(tmp_path, capsys, monkeypatch):
    steps = (small_step(iterations=100, halve_every=100), small_step(2, batch=8, iterations=50))
    progress = Progress(tmp_path, steps, active=True)
    clock = iter((10.0, 12.0))
    monkeypatch.setattr("team_bsr.progress.monotonic", lambda: next(clock))
    progress.begin(60)
    progress.report(steps[0], 70, 0.5)
    progress.close()
    # 10 iterations of 4 patches in 2 s; 30 more take 6 s, and 50 of twice the batch take 20 s.
    expected = "step 1  70/100  l1 0.50000  rate 1.00e-03  20.0 patches/s  step ends in 0:00:06, all in 0:00:26"
    assert expected in capsys.readouterr().out


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = load_checkpoint(a), load_checkpoint(b)
    assert (first["step"], first["iteration"]) == (second["step"], second["iteration"])
    for part in ("network", "ema"):
        for key, value in first[part].items():
            assert torch.equal(value, second[part][key]), key
    for key, value in first["optimizer"]["state"].items():
        assert torch.equal(value["exp_avg_sq"], second["optimizer"]["state"][key]["exp_avg_sq"]), key


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


def test_two_processes_take_the_gradient_of_one(images, tmp_path):
    """After one iteration AdamW's first moment is (1 - beta1) times the gradient."""
    steps = recipe(tmp_path / "recipe", iterations=(1, 1, 1, 1))
    gradients = []
    for processes in (1, 2):
        run_dir = tmp_path / str(processes)
        result = run_command(command(run_dir, images, steps, "--steps", "1", processes=processes))
        assert result.returncode == 0, result.stderr
        assert f"{processes} process(es)" in result.stdout
        state = load_checkpoint(run_dir / "step1-0000001.ckpt")["optimizer"]["state"]
        gradients.append(torch.cat([state[key]["exp_avg"].flatten() / (1 - 0.9) for key in sorted(state)]))
    assert gradients[0].abs().max() > 1e-3
    # Sums over 4 patches of 40x40 pixels and along the network, which two processes take in another order.
    limit = rounding(torch.float32, 4 * 40 * 40 + 2 * ADDITIONS, gradients[0].abs().max().item())
    assert (gradients[0] - gradients[1]).abs().max() < limit


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(images, tmp_path):
    pairs = open_pairs(Sources((images,)), tmp_path / "cache")
    run = Run(tmp_path / "run", pairs)
    train(Plan((small_step(iterations=2),)), Habits(), run, Accelerator(cpu=True))
    steps = (small_step(iterations=2), small_step(2, rate=1e30, iterations=9))
    with pytest.raises(TrainingError, match=r"step 2, iteration [23].*last good checkpoint is .*step1-0000002\.ckpt"):
        train(Plan(steps), Habits(), run, Accelerator(cpu=True))


def test_a_run_goes_on_with_its_own_plan_only_but_later_steps_may_change(images, tmp_path):
    pairs = open_pairs(Sources((images,)), tmp_path / "cache")
    run, first = Run(tmp_path / "run", pairs), small_step(iterations=1)
    train(Plan((first,)), Habits(), run, Accelerator(cpu=True))
    for other in (Plan((first,), seed=1), Plan((small_step(iterations=2),))):
        with pytest.raises(TrainingError, match=r"another plan: (seed|steps) was .* use a new --run_dir"):
            train(other, Habits(), run, Accelerator(cpu=True))
    write_png(images / "4.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(TrainingError, match=r"step1-0000001\.ckpt is of a run on other images"):
        train(
            Plan((first,)),
            Habits(),
            Run(run.folder, open_pairs(Sources((images,)), tmp_path / "cache")),
            Accelerator(cpu=True),
        )
    last = train(Plan((first, small_step(2, iterations=1))), Habits(), run, Accelerator(cpu=True))
    assert last.name == "step2-0000001.ckpt"


def test_a_step_may_start_from_a_pruned_checkpoint_but_not_stage_1(images, tmp_path):
    pairs = open_pairs(Sources((images,)), tmp_path / "cache")
    first = train(Plan((small_step(iterations=1),)), Habits(), Run(tmp_path / "a", pairs), Accelerator(cpu=True))
    plan = Plan((small_step(4, stage=2, iterations=1, rate=1e-12),))
    second = train(plan, Habits(), Run(tmp_path / "b", pairs, start=first), Accelerator(cpu=True))
    weights, source = load_checkpoint(second)["ema"], load_checkpoint(first)["ema"]
    assert torch.allclose(weights["block2.conv1.0.mix.weight"], source["block2.conv1.0.mix.weight"], atol=1e-9)
    with pytest.raises(TrainingError, match="--start is pruned already"):
        train(Plan((small_step(),)), Habits(), Run(tmp_path / "c", pairs, start=second), Accelerator(cpu=True))
