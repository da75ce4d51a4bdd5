"""The measurements of training run, and say what they claim."""

import re

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from typer.testing import CliRunner

from bench.training import app
from eval.data.images import write_png
from team_bsr.checkpoint import save_checkpoint
from team_bsr.progress import Progress
from team_bsr.recipe import load_recipe
from tests.team_bsr.test_network import random_network


def invoke(*arguments) -> list[list[str]]:
    """Run a command and return the cells of its table, without the heading."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = [line.strip("|").split("|") for line in result.output.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@pytest.fixture
def images(tmp_path):
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 256, (200, 196, 3), dtype=np.uint8)
        write_png(tmp_path / "hr" / f"{number}.png", pixels)
    return tmp_path / "hr"


def test_speed_gives_its_ratios(tmp_path):
    rows = invoke("speed", "--batch", 2, "--side", 10, "--rounds", 1)
    assert [row[:3] for row in rows[::4]] == [["1", "float32", "channels-first"], ["2", "float32", "channels-first"]]
    for *_, branches, merged, deploy, gain, cost in rows:
        assert float(gain) == pytest.approx(float(merged) / float(branches), rel=0.05)
        assert float(cost) == pytest.approx(float(deploy) / float(merged), rel=0.05)


def test_loader_draws_the_preset_s_batches(images):
    rows = invoke("loader", "--data", images, "--batches", 2)
    assert [(int(row[1]), int(row[2])) for row in rows] == [(s.batch, s.hr_patch) for s in load_recipe(preset="cpu")]


@pytest.fixture
def fresh_accelerate():
    """Forget the precision that another test of this process has set; accelerate allows one a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("fresh_accelerate")
def test_pruning_compares_the_rules(images, tmp_path):
    network = random_network()
    save_checkpoint(tmp_path / "a.ckpt", {"pruned_blocks": [], "ema": network.state_dict()})
    rows = invoke("pruning", tmp_path / "a.ckpt", "--data", images, "--validate", images, "--iterations", 1)
    assert [row[:2] for row in rows] == [
        ["not pruned", "0"], ["first", "0"], ["first", "1"], ["importance", "0"], ["importance", "1"]
    ]  # fmt: skip
    assert rows[1][2] != rows[3][2]


def test_curve_draws_a_line_for_each_step(tmp_path):
    steps = load_recipe(preset="cpu")
    progress = Progress(tmp_path, steps, active=True)
    for step in steps[:2]:
        progress.validated(step, 1000, {"Set14": 25.0})
    progress.close()
    result = CliRunner().invoke(app, ["curve", str(tmp_path), "--out", str(tmp_path / "c.svg")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    comments = set(re.findall(r"<!-- (.*?) -->", (tmp_path / "c.svg").read_text()))
    assert {"step 1", "step 2", "bicubic", "released weights"} <= comments
