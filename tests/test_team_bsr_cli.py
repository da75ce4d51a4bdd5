"""The commands, from the command line to files and exit codes."""

import hashlib
import subprocess
import tomllib
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from eval.errors import RunError, UsageError
from eval.images import read_image, write_png
from eval.resize import imresize
from models.team03_PFDNLite import PFDNLite
from team_bsr.checkpoint import load_checkpoint, load_network, save_checkpoint
from team_bsr.cli import app
from team_bsr.export import verify
from team_bsr.network import reparameterize
from tests.rounding import rounding
from tests.test_team_bsr_network import ADDITIONS, random_network
from tests.test_team_bsr_training import command, environment, recipe


def invoke(*arguments) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def checkpoint(path, pruned_blocks=()):
    network = random_network(pruned_blocks)
    save_checkpoint(path, {"pruned_blocks": list(pruned_blocks), "ema": network.state_dict()})
    return path, network


@pytest.fixture
def images(tmp_path):
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 256, (52, 61, 3), dtype=np.uint8)
        write_png(tmp_path / "hr" / f"{number}.png", pixels)
    return tmp_path / "hr"


def test_prune_then_export_gives_weights_that_the_deploy_class_takes(tmp_path, images):
    stage1, _ = checkpoint(tmp_path / "stage1.ckpt")
    invoke("prune", stage1, tmp_path / "stage2.ckpt", "--rule", "importance")
    assert load_checkpoint(tmp_path / "stage2.ckpt")["pruned_blocks"] == [2, 3]
    weights = tmp_path / "weights.safetensors"
    output = invoke("export", tmp_path / "stage2.ckpt", "--weights", weights, "--images", images)
    deploy = PFDNLite()
    deploy.load_state_dict(safetensors.torch.load_file(weights), strict=True)
    x = torch.rand(1, 3, 21, 17)
    with torch.no_grad():
        expected = load_network(tmp_path / "stage2.ckpt")(x)
        assert (deploy(x) - expected).abs().max() < rounding(torch.float32, ADDITIONS, expected.abs().max().item())
    row = tomllib.loads(output[output.index("[[model.checkpoints]]") :])["model"]["checkpoints"][0]
    assert row == {
        "name": "selftrained",
        "file": "weights.safetensors",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "bytes": weights.stat().st_size,
    }


def test_fuse_of_the_first_stage(tmp_path):
    stage1, network = checkpoint(tmp_path / "stage1.ckpt")
    invoke("fuse", stage1, tmp_path / "fused.safetensors")
    state = safetensors.torch.load_file(tmp_path / "fused.safetensors")
    for key, value in reparameterize(network).state_dict().items():
        assert torch.equal(state[key], value)


def test_export_refuses_what_is_not_the_entry(tmp_path, images):
    stage1, _ = checkpoint(tmp_path / "stage1.ckpt")
    with pytest.raises(UsageError, match="expected PFDNLite of the second stage; prune it"):
        invoke("export", stage1, "--weights", tmp_path / "w.safetensors", "--images", images)
    assert not (tmp_path / "w.safetensors").exists()


def test_verify_fails_where_fusing_is_wrong(monkeypatch):
    from team_bsr import export

    def wrong(network):
        deploy = reparameterize(network)
        deploy.tail[0].bias.data[0] += 1e-4
        return deploy

    monkeypatch.setattr(export, "reparameterize", wrong)
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    with pytest.raises(RunError, match=r"fused and unfused differ by 1\.0e-04"):
        verify(random_network((2, 3)), [image])


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path, images):
    steps = recipe(tmp_path / "recipe", iterations=(4, 2, 2, 3))
    output = invoke("train", "--run_dir", tmp_path / "run", "--data", images, "--recipe", steps, "--cpu", "--dry_run")
    assert f"images   2 in {images}" in output
    assert "step 1   stage 1, 4 iterations of 4 patches of 40x40, l1, rate 0.001 halved every 4" in output
    assert "step 4   stage 2, 3 iterations of 4 patches of 40x40, mse" in output
    assert "expected 0:00:0" in output
    assert not (tmp_path / "run").exists()


def test_unknown_steps_are_wrong_usage(tmp_path, images):
    steps = recipe(tmp_path / "recipe")
    result = subprocess.run(
        command(tmp_path / "run", images, steps, "--steps", "1,5"), env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "--steps: expected numbers of 1, 2, 3, 4, got 5" in result.stderr


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no checkpoint"), "not a training checkpoint"),
        (lambda path: torch.save({"params": {}}, path), "got one with no 'format'"),
        (lambda path: torch.save(SimpleNamespace(), path), "not a training checkpoint"),
    ],
)
def test_foreign_files_are_no_checkpoints(tmp_path, write, message):
    write(tmp_path / "x.ckpt")
    with pytest.raises(RunError, match=message):
        load_checkpoint(tmp_path / "x.ckpt")


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    network = random_network()
    network.tail[0].bias.data[3] = float("nan")
    with pytest.raises(ValueError, match=r"not written, for tail\.0\.bias is not finite"):
        save_checkpoint(tmp_path / "x.ckpt", {"pruned_blocks": [], "ema": network.state_dict()})
    assert not list(tmp_path.iterdir())


def test_shrink_is_the_exact_bicubic(tmp_path, images):
    invoke("shrink", images / "1.png", "--by", 3, "--out", tmp_path / "small")
    expected = imresize(read_image(images / "1.png"), Fraction(1, 3))
    assert expected.shape == (18, 21, 3)
    assert np.array_equal(read_image(tmp_path / "small" / "1.png"), expected)
