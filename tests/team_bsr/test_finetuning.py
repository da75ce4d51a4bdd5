"""Fine-tuning on a few images: what is held out, what is told, and a file that runs."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import safetensors.torch
from accelerate.state import AcceleratorState
from typer.testing import CliRunner

from eval.data.images import ImageSize, write_png
from eval.errors import RunError, UsageError
from eval.zoo.checkpoints import Checkpoint, MissingWeightsError
from models.team03_PFDNLite import PFDNLite
from team_bsr import finetuning
from team_bsr.cli import app
from team_bsr.finetuning import split_off
from team_bsr.sources import Sources
from team_bsr.survey import Survey, survey


@pytest.fixture
def folder(tmp_path):
    """Ten images of one kind: diagonal stripes, that a network can learn."""
    down, across = np.mgrid[:200, :208]
    for number in range(10):
        stripes = ((down + across + 5 * number) // 3 % 2 * 200 + 20).astype(np.uint8)
        write_png(tmp_path / "mine" / f"{number}.png", np.repeat(stripes[..., None], 3, 2))
    return tmp_path / "mine"


def test_every_fifth_image_is_held_out(folder):
    images, held = split_off(survey(Sources((folder,))))
    assert sorted(path.stem for path in images.images) == ["0", "1", "3", "4", "5", "6", "8", "9"]
    assert [pair.hr.shape for pair in held.pairs] == [(200, 208, 3)] * 2
    assert [pair.lr.shape for pair in held.pairs] == [(50, 52, 3)] * 2


def test_no_image_is_compared_with_all_that_are_held_out(monkeypatch):
    """Of the frames of a video that would be billions of comparisons."""
    compared = []

    class Frame(type(Path())):
        __hash__ = Path.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return super().__eq__(other)

    frames = {Frame(f"{number}.png"): ImageSize(4, 4) for number in range(200)}
    pixels = np.zeros((4, 4, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)
    monkeypatch.setattr(finetuning, "decoded", lambda held, *_: [(path, *pixels) for path in held])
    compared.clear()
    images, held = split_off(Survey(Sources((Path(),)), frames))
    assert (len(images.images), len(held.pairs)) == (160, 40)
    assert len(compared) <= len(frames)


def test_two_images_are_too_few(folder):
    for path in list(folder.iterdir())[2:]:
        path.unlink()
    with pytest.raises(UsageError, match="expected at least 3 images, of which one is held out; got 2"):
        split_off(survey(Sources((folder,))))


def damage(folder, *names):
    for name in names:
        (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def test_an_image_that_is_held_out_may_be_damaged_only_if_asked(folder):
    damage(folder, "2.png")
    with pytest.raises(RunError, match=r"2\.png: not a readable image .*; repair or remove it, or leave .*--skip_bad"):
        split_off(survey(Sources((folder,))))
    images, held = split_off(survey(Sources((folder,), skip_bad=True)))
    assert (len(images.images), len(held.pairs)) == (8, 1)
    assert [fault.partition(": ")[0] for fault in images.faults] == [str(folder / "2.png")]
    damage(folder, "7.png")
    with pytest.raises(RunError, match=r"none of the 2 images that are held out could be read; the first: .*2\.png: "):
        split_off(survey(Sources((folder,), skip_bad=True)))


def test_what_is_damaged_is_left_out_and_named_by_the_flag_that_is_advised(folder, tmp_path, monkeypatch):
    damage(folder, "2.png", "5.png")
    caught = []

    def catch(plan, habits, run, accelerator):
        caught.append(run)
        raise RunError("caught in place of training")

    monkeypatch.setattr(finetuning, "train", catch)
    AcceleratorState._reset_state()
    arguments = ["finetune", "--data", folder, "--run_dir", tmp_path / "run", "--cpu", "--precision", "no"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--skip_bad"])
    assert str(result.exception) == "caught in place of training"
    (run,) = caught
    assert (len(run.pairs), len(run.sets[0].pairs)) == (7, 1)
    for name in ("2.png", "5.png"):
        assert f"skipped: {folder / name}: not a readable image" in result.output


def test_a_set_that_is_trained_on_is_told(folder, tmp_path, monkeypatch):
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    monkeypatch.setattr(finetuning, "train", Mock(side_effect=RunError("caught in place of training")))
    AcceleratorState._reset_state()
    arguments = ["finetune", "--data", folder, "--validate", folder, "--run_dir", tmp_path / "run", "--cpu"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--precision", "no"])
    assert str(result.exception) == "caught in place of training"
    warning = "warning: 1 of 1 validation images of mine are trained on, so its PSNR says little: 0"
    assert f"{warning} ({folder / '0.png'})\n" in result.output


def test_it_tells_what_it_starts_from_and_which_weights_are_better(tmp_path, monkeypatch):
    ships = f"starts from {finetuning.TRAINING_FORM}, which ships; from the released weights, which have a higher PSNR"
    monkeypatch.setattr(finetuning, "find_checkpoint", Mock(side_effect=MissingWeightsError))
    assert finetuning._told_start(finetuning.TRAINING_FORM).startswith(f"{ships}: --start their file, which python -m")
    monkeypatch.setattr(finetuning, "find_checkpoint", lambda *_: Checkpoint(tmp_path / "r.pth", "", "released"))
    assert finetuning._told_start(finetuning.TRAINING_FORM) == f"{ships}: --start {tmp_path / 'r.pth'}"
    assert finetuning._told_start(tmp_path / "own.ckpt") == f"starts from {tmp_path / 'own.ckpt'}"


def test_ten_images_make_it_better_on_those_held_out(folder, tmp_path, monkeypatch):
    """Twelve iterations of a shrunk step; the file is the network's deploy form."""
    (step,) = finetuning.load_recipe(preset="finetune")[3:]
    short = step.scaled({"hr_patch": "1/4", "iterations": "12/10000", "rate": "5", "warm_up": 0})
    monkeypatch.setattr(finetuning, "load_recipe", lambda preset: (None, None, None, short))
    AcceleratorState._reset_state()
    weights = tmp_path / "mine.safetensors"
    arguments = ["finetune", "--data", folder, "--weights", weights, "--run_dir", tmp_path / "run", "--cpu"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--minutes", "60"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"starts from {finetuning.TRAINING_FORM}, which ships; " in result.output
    assert "held out 2 of 10 images, not trained on: 2.png, 7.png\n" in result.output
    line = next(line for line in result.output.splitlines() if line.startswith("held out: "))
    before_db, after_db = (float(line.split()[place]) for place in (2, 5))
    assert after_db > before_db + 0.1
    PFDNLite(pruned_blocks=[2, 3]).load_state_dict(safetensors.torch.load_file(weights), strict=True)
    assert f"python test_demo.py --model_id 3 --weights {weights}" in result.output
