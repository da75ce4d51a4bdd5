"""A new entry's first files: they run, they are the nearest-neighbour enlargement, and nothing is overwritten."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from eval.errors import UsageError
from eval.files import module_of
from eval.submission import new_team
from eval.submission.new_team import begin
from eval.zoo.checkpoints import file_sha256
from eval.zoo.manifest import all_models, read_manifest
from tests.conftest import PROJECT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a manifest and nothing else."""
    (tmp_path / "models").mkdir()
    (tmp_path / "model_zoo").mkdir()
    shutil.copy(PROJECT / "model_zoo" / "manifest.toml", tmp_path / "model_zoo")
    return tmp_path


def test_its_row_says_what_its_files_are(root: Path):
    team = begin("TinyNet", None, root)
    *before, row = read_manifest(team.manifest)
    assert tuple(before) == all_models()
    assert (row.id, row.name, row.target) == (team.id, "TinyNet", f"models.team{team.id:02}_TinyNet:TinyNet")
    assert team.id == max(spec.id for spec in all_models()) + 1
    (checkpoint,) = row.checkpoints
    assert checkpoint.sha256 == file_sha256(team.weights)
    assert checkpoint.bytes == team.weights.stat().st_size
    # 3x3 convolutions: 3 to 32, four of 32 to 32, 32 to 48, with biases.
    params = 3 * 32 * 9 + 32 + 4 * (32 * 32 * 9 + 32) + 32 * 48 * 9 + 48
    assert row.counts.num_params == params
    assert row.counts.flops == (3 * 32 * 9 + 4 * 32 * 32 * 9 + 32 * 48 * 9) * 256**2


def test_its_network_enlarges_by_nearest_neighbours(root: Path):
    team = begin("TinyNet", 42, root)
    assert team.network.name == "team42_TinyNet.py"
    network = module_of(team.network, "test_of_a_new_team").TinyNet()
    network.load_state_dict(safetensors.torch.load_file(team.weights), strict=True)
    x = torch.rand(1, 3, 5, 7)
    with torch.no_grad():
        assert torch.equal(network(x), torch.nn.functional.interpolate(x, scale_factor=4, mode="nearest"))


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("tiny", None, "expected the name of a class"),
        ("../Tiny", None, "expected the name of a class"),
        ("None", None, "None: expected the name of a class"),
        ("Tiny", 3, "--id 3: is PFDNLite's; the next free one is"),
        ("pfdnlite".upper(), None, "is the name of model 3 already"),
    ],
)
def test_what_is_taken_or_no_name_is_refused(root: Path, name: str, number: int | None, message: str):
    before = (root / "model_zoo" / "manifest.toml").read_bytes()
    with pytest.raises(UsageError, match=message):
        begin(name, number, root)
    assert (root / "model_zoo" / "manifest.toml").read_bytes() == before
    assert list((root / "models").iterdir()) == []


@pytest.mark.parametrize("step", ["measure_complexity", "file_sha256", "read_manifest"])
def test_what_is_broken_off_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    before = (root / "model_zoo" / "manifest.toml").read_bytes()

    def broken(argument):
        if step == "read_manifest" and "TinyNet" not in argument.read_text():
            return read_manifest(argument)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(new_team, step, broken)
        with pytest.raises(KeyboardInterrupt):
            begin("TinyNet", 77, root)
    assert (root / "model_zoo" / "manifest.toml").read_bytes() == before
    assert [path.name for path in root.rglob("*TinyNet*") if path.suffix != ".pyc"] == []
    assert begin("TinyNet", 77, root).network.is_file()


def test_a_file_of_its_name_stays_as_it_is(root: Path):
    kept = root / "models" / "team77_Tiny.py"
    kept.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        begin("Tiny", 77, root)
    assert kept.read_text() == "mine"


@pytest.mark.slow
def test_the_registrys_tests_pass_at_once(tmp_path: Path):
    left_out = shutil.ignore_patterns(".git", ".venv", "results", "__pycache__", ".*_cache")
    copy = shutil.copytree(PROJECT, tmp_path / "project", ignore=left_out)
    begun = subprocess.run([sys.executable, "-m", "eval", "new-team", "TinyNet"], cwd=copy, capture_output=True)
    assert begun.returncode == 0, begun.stderr
    tests = ["tests/models", "tests/zoo", "tests/inference", "tests/metrics"]
    command = [sys.executable, "-m", "pytest", *tests, "-k", "TinyNet", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
