"""What cannot end well is refused before anything is trained or written."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from typer.testing import CliRunner

from eval.data.images import write_png
from eval.errors import RunError, UsageError
from eval.zoo.manifest import MODEL_ZOO
from team_bsr import finetuning
from team_bsr.checkpoint import checkpoints, save_checkpoint
from team_bsr.cli import app
from team_bsr.outputs import check_folder
from team_bsr.plan import Habits, Plan, Run, accelerator_of
from team_bsr.training import train
from team_bsr.validation import open_set, open_sets, validate
from tests.team_bsr.test_cli import checkpoint, fresh_accelerate, invoke
from tests.team_bsr.test_network import random_network
from tests.team_bsr.test_training import images, pairs, small_step

__all__ = ["fresh_accelerate", "images", "pairs"]


@pytest.fixture
def nothing_is_trained(monkeypatch):
    for module in ("finetuning", "cli"):
        monkeypatch.setattr(f"team_bsr.{module}.train", lambda *_: pytest.fail("it was trained"))


@pytest.mark.usefixtures("nothing_is_trained")
def test_fine_tuning_refuses_a_file_of_the_zoo_before_it_trains(images, tmp_path):
    """The weights that ship must stay, and minutes of training must not end in a refusal."""
    target = MODEL_ZOO / "pfdnlite_selftrained.safetensors"
    before = target.read_bytes()
    with pytest.raises(UsageError, match=rf"--weights {target}: expected a file of your own for these weights"):
        invoke("finetune", "--data", images, "--weights", target, "--run_dir", tmp_path / "run", "--cpu")
    assert target.read_bytes() == before
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("nothing_is_trained")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--weights", "{here}"], "--weights {here}: expected a file, got a folder"),
        (
            ["--weights", "{file}/mine.safetensors"],
            "--weights {file}: expected a folder that can be written, got {file}",
        ),
        (["--run_dir", "{file}/run"], "--run_dir {file}/run: expected a folder that can be written, got {file}"),
        (["--weights", "{file}", "--start", "{file}"], "--weights {file}: expected a file of its own"),
        (["--weights", "{ships}", "--start", "{file}"], "--weights {ships}: expected a file of its own"),
    ],
)
def test_fine_tuning_refuses_places_that_cannot_be_written(images, tmp_path, monkeypatch, flags, said):
    monkeypatch.setattr(finetuning, "survey", lambda _sources: pytest.fail("images were looked through"))
    (tmp_path / "file").touch()
    named = {"here": tmp_path, "file": tmp_path / "file", "ships": finetuning.TRAINING_FORM}
    with pytest.raises(UsageError) as refused:
        invoke("finetune", "--data", images, "--cpu", *(flag.format(**named) for flag in flags))
    assert str(refused.value).startswith(said.format(**named))


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("prune", "{source}", "{source}"), "STAGE2"),
        (("grow", "{source}", "{source}"), "GROWN"),
        (("fuse", "{source}", "{source}"), "WEIGHTS"),
        (("export", "{source}", "--weights", "{source}"), "--weights"),
        (("export", "{source}", "--training", "{other}", "--weights", "{other}"), "--training"),
        (("export", "{source}", "--onnx", "{other}", "--weights", "{other}"), "--onnx"),
    ],
)
def test_no_command_overwrites_what_it_reads_or_writes_besides(tmp_path, words, flag):
    source, _ = checkpoint(tmp_path / "source.ckpt", (2, 3))
    named, before = {"source": source, "other": tmp_path / "other.safetensors"}, source.read_bytes()
    with pytest.raises(UsageError, match=rf"^{flag} .*: expected a file of its own, got one that this command needs"):
        invoke(*(word.format(**named) for word in words))
    assert source.read_bytes() == before
    assert not named["other"].exists()


@pytest.mark.parametrize("words", [("prune",), ("grow",), ("fuse",), ("export", "--weights")])
def test_a_place_that_cannot_be_written_is_named_before_anything_is_read(tmp_path, words):
    command, *flag = words
    (tmp_path / "file").touch()
    for target, said in ((tmp_path, "expected a file, got a folder"), (tmp_path / "file" / "x", "that can be written")):
        with pytest.raises(UsageError, match=said):
            invoke(command, tmp_path / "absent.ckpt", *flag, target)


@pytest.mark.parametrize(
    ("words", "named"),
    [(("prune", "{source}", "{target}"), "STAGE2"), (("export", "{source}", "--onnx", "{target}"), "--onnx")],
)
def test_no_file_of_the_zoo_is_overwritten_by_what_are_no_weights(tmp_path, monkeypatch, words, named):
    target = tmp_path / "weights" / "pfdnlite_selftrained.safetensors"
    target.parent.mkdir()
    target.write_bytes(b"as it was")
    monkeypatch.setenv("ESR_WEIGHTS", str(target.parent))
    source, _ = checkpoint(tmp_path / "source.ckpt")
    with pytest.raises(UsageError, match=f"^{named} .*: expected a file of your own"):
        invoke(*(word.format(source=source, target=target) for word in words))
    assert target.read_bytes() == b"as it was"


def test_export_writes_nothing_where_one_of_its_files_is_refused(images, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR_WEIGHTS", str(tmp_path))
    source, _ = checkpoint(tmp_path / "source.ckpt", (2, 3))
    files = ("--weights", tmp_path / "w.safetensors", "--training", tmp_path / "pfdnlite_selftrained.safetensors")
    with pytest.raises(UsageError, match=r"--training .*selftrained\.safetensors: expected a file of your own"):
        invoke("export", source, "--images", images, *files)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--log_every", 0), ("--validate_every", 0), ("--checkpoint_every", -1), ("--keep", 0), ("--workers", -1),
        ("--seed", -1), ("--minutes", 0), ("--minutes", "nan"),
    ],
)  # fmt: skip
def test_numbers_that_end_a_run_at_its_first_iteration_are_refused(images, tmp_path, flag, value):
    words = ["train", "--run_dir", tmp_path / "run", "--data", images, flag, value]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 2
    assert f"Invalid value for '{flag}'" in result.output
    assert not (tmp_path / "run").exists()


def test_a_later_step_that_cannot_begin_is_refused_before_the_first_one(pairs, tmp_path):
    """Of 64 pixels a side are the images; three processes share a batch of 3, and not one of 4."""
    run = Run(tmp_path / "run", pairs)
    with pytest.raises(
        RunError, match="step 2: patches of 96 pixels a side: expected an image of at least that, all 4"
    ):
        train(Plan((small_step(), small_step(2, hr_patch=96))), Habits(), run, Accelerator(cpu=True))
    three = SimpleNamespace(num_processes=3, process_index=0, is_main_process=True, device=torch.device("cpu"))
    plan = Plan((small_step(batch=3), small_step(2)))
    with pytest.raises(UsageError, match="step 2: batch: expected a multiple of the 3 processes, got 4"):
        train(plan, Habits(), run, three)
    assert checkpoints(run.folder) == []


def test_a_batch_that_processes_cannot_share_is_refused_before_images_are_looked_for(monkeypatch):
    told = SimpleNamespace(num_processes=3, process_index=0)
    monkeypatch.setattr("team_bsr.plan.Accelerator", lambda **_: told)
    with pytest.raises(UsageError, match="step 2: batch: expected a multiple of the 3 processes, got 4"):
        accelerator_of(True, Plan((small_step(batch=3), small_step(2))))


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_precision_that_the_device_lacks_is_refused_by_its_flag():
    """On a CPU accelerate would compute in float32 and say nothing."""
    with pytest.raises(UsageError, match=r"^--precision fp16: expected one that cpu computes in: no, bf16, auto"):
        accelerator_of(True, Plan((), precision="fp16"))


def test_pruned_blocks_do_not_come_back():
    with pytest.raises(UsageError, match="step 4: stage: expected 2, as of step 3, got 1"):
        Plan((small_step(3, stage=2), small_step(4)))


def test_a_small_validation_image_ends_no_run(tmp_path):
    """PFDNLite takes no less than 7 LR pixels; as the harness measures it, the image is extended by reflection."""
    write_png(tmp_path / "hr" / "a.png", np.random.default_rng(0).integers(0, 256, (20, 48, 3), dtype=np.uint8))
    dataset, network = open_set(tmp_path / "hr"), random_network((2, 3))
    lr, hr = dataset.pairs[0].read()
    extended = np.concatenate((lr, lr[[3, 2]]))
    with torch.no_grad():
        sr = network(torch.from_numpy(extended / 255).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    error = (np.rint(np.clip(np.float64(sr[:20]), 0, 1) * 255) - hr)[4:-4, 4:-4]
    assert validate(network, [dataset])["hr"] == pytest.approx(10 * np.log10(255**2 / (error**2).mean()), abs=1e-2)


def test_a_file_bars_a_folder_even_where_it_may_be_written_and_run(tmp_path):
    file = tmp_path / "script"
    file.touch()
    file.chmod(0o777)
    with pytest.raises(UsageError, match=f"got {file}, which cannot"):
        check_folder("--run_dir", file / "run")
    check_folder("--run_dir", tmp_path / "new" / "run")


def test_a_disk_that_is_full_is_told_by_the_checkpoint_s_name_and_leaves_nothing(tmp_path):
    """Of a file that cannot grow torch.save says "unexpected pos 11867520 vs 11867408"."""
    resource = pytest.importorskip("resource")
    state, limits = (
        {"pruned_blocks": [], "ema": random_network().state_dict()},
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(OSError, match=r"step1-0000005\.ckpt") as refused:
            save_checkpoint(tmp_path / "step1-0000005.ckpt", state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())


def test_folders_are_refused_by_the_flag_that_names_them(images, tmp_path):
    source, _ = checkpoint(tmp_path / "source.ckpt", (2, 3))
    (tmp_path / "empty").mkdir()
    (tmp_path / "steps").mkdir()
    absent, empty = tmp_path / "absent", tmp_path / "empty"
    begins = ("train", "--run_dir", tmp_path / "run", "--cpu")
    for words, told in (
        ((*begins, "--data", absent), f"--data {absent}: expected a folder with HR images, found no such folder"),
        ((*begins, "--data", source), f"--data {source}: expected a folder with HR images, found a file, no folder"),
        ((*begins, "--data", images, "--validate", absent), f"--validate {absent}: no such folder"),
        ((*begins, "--data", images, "--validate", empty), f"--validate {empty}: holds no images and no set"),
        (
            (*begins, "--data", images, "--recipe", tmp_path / "steps"),
            f"--recipe {tmp_path / 'steps'}: expected step1.toml to step4.toml, found no step1.toml",
        ),
        (("export", source, "--weights", tmp_path / "w", "--images", absent), f"--images {absent}: no such folder"),
    ):
        with pytest.raises((UsageError, OSError)) as refused:
            invoke(*words)
        assert str(refused.value).startswith(told)


def test_two_validation_sets_of_one_name_are_refused(tmp_path):
    """Their PSNR would stand under one name, and one would be lost."""
    folders = [tmp_path / parent / "val" for parent in "ab"]
    for folder in folders:
        write_png(folder / "1.png", np.zeros((52, 60, 3), np.uint8))
    assert [dataset.folder for dataset in open_sets(folders[:1])] == folders[:1]
    with pytest.raises(UsageError, match=rf"--validate {folders[1]}: .* got val, as {folders[0]} is called"):
        open_sets(folders)
