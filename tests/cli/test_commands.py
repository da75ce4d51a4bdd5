"""The commands as a user types them: output, files, exit codes."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval.cli import checking, packing, table1
from eval.cli.running import Asked
from eval.data.images import read_image, write_png
from eval.data.resize import imresize
from eval.errors import RunError
from eval.records.record import State
from eval.records.store import write_record
from eval.report.papers import table1 as paper
from eval.run.evaluation import Evaluation
from eval.submission import archive
from eval.zoo.manifest import find_model
from tests.conftest import PROJECT
from tests.records.test_record import make_record


def records_of(save_dir: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((save_dir / "records").glob("*.json"))]


def test_the_demo_on_sample_photographs_without_anything_else(program, tmp_path: Path):
    result = program(PROJECT / "test_demo.py", "--model_id", "-1", "--ssim", "--device", "cpu")
    assert "Bicubic" in result.stdout
    assert "26.49" in result.stdout
    assert "0.7761" in result.stdout
    names = {"astronaut", "chelsea", "coffee", "motorcycle_left", "rocket"}
    assert {path.stem for path in (tmp_path / "results" / "Bicubic" / "sample").glob("*.png")} == names
    (record,) = records_of(tmp_path / "results")
    assert record["status"] == "complete"
    assert {image["name"] for image in record["images"]} == names
    title, headings, row = (tmp_path / "results" / "results.txt").read_text().splitlines()
    assert title.startswith("# sample, 5 images; protocol official, on ")
    assert headings.startswith("Model  ")
    assert row.split()[:2] == ["Bicubic", "26.49"]


def test_pfdnlite_with_weights_given_by_path(command, tmp_path: Path, hr_folder: Path):
    torch.manual_seed(0)
    torch.save(find_model(3).build().state_dict(), tmp_path / "mine.pth")
    arguments = ("--model_id", "3", "--weights", tmp_path / "mine.pth", "--data_dir", hr_folder, "--device", "cpu")
    result = command("test_demo.py", *arguments, "--tile", "16", "--threads", "1", "--save_dir", "out dir")
    (record,) = records_of(tmp_path / "out dir")
    assert (record["settings"]["tile"], record["settings"]["tile_overlap"]) == (16, 4)
    assert record["environment"]["threads"] == 1
    assert record["complexity"]["flops"] == 11_952_734_208
    assert record["model"]["checkpoint"] is None
    assert "not in the manifest" in result.stdout
    assert read_image(tmp_path / "out dir" / "03_PFDNLite" / "photos" / "image0.png").shape == (48, 64, 3)


def test_include_test_fills_both_columns(command, tmp_path: Path, random_image):
    for name, seed in (("valid", 1), ("test", 2)):
        hr = random_image(48, 48, seed)
        write_png(tmp_path / "data" / f"DIV2K_LSDIR_{name}_HR" / "0801.png", hr)
        write_png(tmp_path / "data" / f"DIV2K_LSDIR_{name}_LR" / "0801x4.png", imresize(hr, 0.25))
    command("test_demo.py", "--model_id", "-1", "--data_dir", tmp_path / "data", "--include_test")
    cells = [cell.strip() for cell in (tmp_path / "results" / "results.txt").read_text().splitlines()[2].split("\t")]
    by_set = {record["dataset"]["name"]: record["images"][0]["psnr_db"] for record in records_of(tmp_path / "results")}
    assert cells[0] == "Bicubic"
    assert cells[1:3] == [f"{by_set[f'DIV2K_LSDIR_{name}']:.2f}" for name in ("valid", "test")]


def test_several_models_and_sets_in_one_table(command, tmp_path: Path, hr_folder: Path, random_image):
    write_png(tmp_path / "more" / "set_b" / "x.png", random_image(40, 40))
    shutil.copytree(hr_folder, tmp_path / "more" / "set_a")
    arguments = ("--models", "-1,bicubic", "--datasets", "set_a,set_b", "--protocol", "accuracy", "--no_images")
    command("-m", "eval", "run", "--data_dir", tmp_path / "more", *arguments)
    assert {record["dataset"]["name"] for record in records_of(tmp_path / "results")} == {"set_a", "set_b"}
    assert len((tmp_path / "results" / "results.csv").read_text().splitlines()) == 3
    assert not (tmp_path / "results" / "Bicubic").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model_id", "PFDNLit"), "Did you mean pfdnlite?"),
        (("--model_id", "-1", "--data_dir", "absent"), "--data_dir absent: no such folder"),
        (("--model_id", "-1", "--tile", "large"), "--tile large: expected auto, none, or a number"),
        (("--model_id", "-1", "--weights", "x.pth"), "--weights x.pth: Bicubic has no weights; leave the flag out"),
        (("--model_id", "-1", "--weights_key", "ema"), "--weights_key ema: Bicubic has no weights; leave the flag out"),
        (("--model_id", "3,5"), "for several: python -m eval run --models 3,5"),
        (("--model_id", "3", "--weights", "absent.pth"), "--weights absent.pth: no such file"),
        (("--model_id", "-1", "--protocol", "best"), "'best' is not one of"),
        (("--modelid", "3"), "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_to_do(command, tmp_path: Path, arguments, message: str):
    result = command("test_demo.py", *arguments, code=2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "results").exists()


def test_missing_weights_are_an_error_that_says_how_to_get_them(command):
    result = command("test_demo.py", "--model_id", "0", code=1)
    assert "python -m eval fetch weights --model_id 0" in result.stderr
    assert "3c9be7b9d7a4bece9b68c83a56a1ffb38010f76413d5f215be6b4be842e18fb2" in result.stderr
    assert "https://" in result.stderr


def test_faulty_images_are_all_named_before_any_network_runs(command, tmp_path: Path, hr_folder: Path):
    data = (hr_folder / "image0.png").read_bytes()
    (hr_folder / "torn.png").write_bytes(data[: len(data) // 2])
    (hr_folder / "text.png").write_text("no image")
    result = command("test_demo.py", "--model_id", "-1", "--data_dir", hr_folder, code=1)
    assert "torn.png" in result.stderr
    assert "text.png" in result.stderr
    assert "2 faults" in result.stderr
    assert not (tmp_path / "results").exists()


def test_ssim_of_images_that_are_too_small_is_refused_before_the_run(command, tmp_path: Path, random_image):
    write_png(tmp_path / "small" / "tiny.png", random_image(16, 40))
    result = command("test_demo.py", "--model_id", "-1", "--data_dir", tmp_path / "small", "--ssim", code=1)
    assert "SSIM: HR images need 19 pixels a side; smaller are: tiny" in result.stderr
    command("test_demo.py", "--model_id", "-1", "--data_dir", tmp_path / "small")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_ctrl_c_and_sigterm_leave_finished_images_and_a_partial_record(
    program, tmp_path: Path, random_image, signal: str, code: int
):
    for i in range(9):
        write_png(tmp_path / "photos" / f"{i:02}.png", random_image(200, 200, i))
    demo = (PROJECT / "test_demo.py", "--model_id", "-1", "--data_dir", "photos", "--tile", "none")
    result = program("-m", "tests.signalled", signal, "eval.run.runner.write_png", "03.png", *demo, code=code)
    assert "interrupted after" in result.stderr
    (record,) = records_of(tmp_path / "results")
    assert record["status"] == "interrupted"
    finished = [image["name"] for image in record["images"]]
    # The signal comes while image 03 is being written: it counts only if its writer came back.
    assert finished in (["00", "01", "02"], ["00", "01", "02", "03"])
    images = tmp_path / "results" / "Bicubic" / "photos"
    for name in finished:
        assert read_image(images / f"{name}.png").shape == (200, 200, 3)
    # Of half an image there is nothing, but for the word whose images these are.
    assert [path.name for path in images.glob(".*")] == [".images_key"]


def test_table1_says_what_is_missing_and_where_to_get_it(command, tmp_path: Path):
    result = command("-m", "eval", "table1", code=1)
    assert "26.96" in result.stdout
    assert "LD-valid, RLFN, DIPNet, PFDNLite (selftrained): not measured: images not found" in result.stdout
    assert "github.com/Amazingren/NTIRE2024_ESR" in result.stdout
    written = {path.name for path in (tmp_path / "results").iterdir()}
    assert written >= {"table1.md", "table1.csv", "table1.tex"}


def test_table1_measures_what_is_here(command, tmp_path: Path, esr_weights: Path, esr_data: Path):
    arguments = ("--datasets", "Set5", "--device", "cpu")
    environment = {"ESR_WEIGHTS": str(esr_weights), "ESR_DATA": str(esr_data)}
    command("-m", "eval", "table1", *arguments, **environment)
    lines = (tmp_path / "results" / "table1.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| Set")]
    assert rows == [["Set5", "30.21 (-, -)", "29.92 (-, -)", "30.12 (-, -)"]]
    command("-m", "eval", "table1", "--datasets", "Set5,LD-test", code=1, **environment)
    command("-m", "eval", "table1", "--datasets", "Set6", code=2, **environment)


def test_table1_says_which_figures_are_not_of_the_published_weights_and_images(command, tmp_path: Path, random_image):
    for index in (1, 2):
        hr, stem = random_image(48, 64, index), tmp_path / "data" / "Urban100" / "image_SRF_4" / f"img_00{index}_SRF_4_"
        write_png(stem.with_name(f"{stem.name}HR.png"), hr)
        write_png(stem.with_name(f"{stem.name}LR.png"), imresize(hr, 0.25))
    typed = ("--datasets", "Urban100", "--data_dir", "data", "--device", "cpu")
    result = command("-m", "eval", "table1", *typed, code=1)
    notes = (
        "PFDNLite (selftrained): these weights are not those that its authors released",
        "Urban100 (2 images): the published set has 100",
    )
    page = (tmp_path / "results" / "table1.md").read_text()
    for note in notes:
        assert note in result.stdout
        assert f"\n- {note}\n" in page
    for suffix in ("md", "csv", "tex"):
        text = (tmp_path / "results" / f"table1.{suffix}").read_text()
        assert "PFDNLite (selftrained)" in text
        assert "Urban100 (2 images)" in text


def test_make_lr_is_the_exact_bicubic(command, tmp_path: Path, hr_folder: Path):
    command("-m", "eval", "make-lr", hr_folder, tmp_path / "lr")
    assert sorted(path.name for path in (tmp_path / "lr").iterdir()) == ["image0x4.png", "image1x4.png"]
    expected = imresize(read_image(hr_folder / "image1.png"), 0.25)
    assert np.array_equal(read_image(tmp_path / "lr" / "image1x4.png"), expected)
    command("-m", "eval", "make-lr", tmp_path / "absent", tmp_path / "lr", code=2)


def test_make_lr_leaves_out_what_training_leaves_out_and_says_so(command, tmp_path: Path, random_image):
    folder = tmp_path / "Set5" / "image_SRF_4"
    for name, side in (("a_HR", 32), ("a_LR", 8), ("a_SRCNN", 32), ("b_HR", 32), ("b_LR", 8)):
        write_png(folder / f"{name}.png", random_image(side, side))
    left_out = "2 LR images by their names (a_LR.png, b_LR.png), 1 neither _HR nor _LR beside such pairs (a_SRCNN.png)"
    result = command("-m", "eval", "make-lr", folder, tmp_path / "made")
    assert result.stdout == f"2 images written to {tmp_path / 'made'}; left out: {left_out}\n"
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["a_HRx4.png", "b_HRx4.png"]
    lr_alone = tmp_path / "DIV2K_LR_bicubic"
    write_png(lr_alone / "a.png", random_image(32, 32))
    result = command("-m", "eval", "make-lr", lr_alone, tmp_path / "smaller")
    assert result.stdout == f"1 image written to {tmp_path / 'smaller'}; all are LR images by their names\n"


def test_make_lr_leaves_out_what_it_made(command, tmp_path: Path, random_image):
    for name, side in (("a", 96), ("ax4", 24), ("b", 96), ("bx4", 24)):
        write_png(tmp_path / "photos" / f"{name}.png", random_image(side, side))
    result = command("-m", "eval", "make-lr", tmp_path / "photos", tmp_path / "made", "--scale", "3")
    assert result.stdout.endswith("; left out: 2 LR images by their names (ax4.png, bx4.png)\n")
    # What is smaller already can be made smaller again.
    command("-m", "eval", "make-lr", tmp_path / "made", tmp_path / "again")
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["ax3x4.png", "bx3x4.png"]


def test_make_lr_writes_over_no_image(command, tmp_path: Path, hr_folder: Path, random_image):
    other = random_image(48, 64, 7)
    write_png(hr_folder / "image0x4.png", other)
    result = command("-m", "eval", "make-lr", hr_folder, hr_folder, code=2)
    assert (
        result.stderr == f"error: {hr_folder}: holds the HR images themselves; name another folder for the LR images\n"
    )
    write_png(tmp_path / "lr" / "image1x4.png", other)
    result = command("-m", "eval", "make-lr", hr_folder, tmp_path / "lr", code=1)
    assert result.stderr.splitlines()[1:] == [
        f"  {tmp_path / 'lr' / 'image1x4.png'}: is there already, and is not the LR image of {hr_folder / 'image1.png'}"
    ]
    for path in (hr_folder / "image0x4.png", tmp_path / "lr" / "image1x4.png"):
        assert np.array_equal(read_image(path), other)
    assert len(list((tmp_path / "lr").iterdir())) == 1
    (tmp_path / "lr" / "image1x4.png").unlink()
    # A second time it finds its own images; image0x4 is none of HR beside image0.
    for _ in range(2):
        command("-m", "eval", "make-lr", hr_folder, tmp_path / "lr")
    assert len(list((tmp_path / "lr").iterdir())) == 2


def test_make_lr_names_all_that_is_wrong_and_writes_nothing(command, tmp_path: Path, hr_folder: Path, random_image):
    Image.fromarray(random_image(16, 16)).convert("CMYK").save(hr_folder / "print.jpg")
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(hr_folder / "deep.png")
    (hr_folder / "image1.png").write_bytes((hr_folder / "image1.png").read_bytes()[:-100])
    write_png(hr_folder / "tiny.png", random_image(3, 20))
    Image.fromarray(random_image(16, 16)).save(hr_folder / "image0.bmp")
    result = command("-m", "eval", "make-lr", hr_folder, tmp_path / "lr", code=1)
    assert not (tmp_path / "lr").exists()
    told = result.stderr.splitlines()
    assert told[0] == (
        f"error: {hr_folder}: 5 faults found, so nothing was written to {tmp_path / 'lr'}; mend, rename or remove "
        "these files"
    )
    assert told[1:3] == [
        f"  {hr_folder / 'image0.bmp'} and {hr_folder / 'image0.png'}: have the same name",
        f"  {hr_folder / 'deep.png'}: has 16 bits a sample; the protocol is defined on 8-bit RGB, so convert it first",
    ]
    assert told[3].startswith(f"  {hr_folder / 'image1.png'}: not a readable image")
    assert told[4].startswith(f"  {hr_folder / 'print.jpg'}: has the colour mode CMYK")
    assert told[5:] == [f"  {hr_folder / 'tiny.png'}: expected at least 4 pixels a side, to be shrunk by 4; got 20x3"]


def test_models_lists_the_zoo(command, esr_weights: Path):
    result = command("-m", "eval", "models", ESR_WEIGHTS=str(esr_weights))
    line = next(line for line in result.stdout.splitlines() if "PFDNLite" in line)
    assert line.split()[:4] == ["3", "PFDNLite", "0.218", "11.95"]
    assert "released" in line


def test_fetch_needs_to_know_what(command):
    command("-m", "eval", "fetch", "weights", code=2)
    command("-m", "eval", "fetch", "weights", "--all", "--model_id", "3", code=2)


def test_steady_runs_of_two_models_share_a_group_and_make_a_report(command, tmp_path: Path, hr_folder: Path):
    torch.save(find_model("SPAN").build().state_dict(), tmp_path / "span_ntire2024_team38.pth")
    manifest_hash = find_model("SPAN").checkpoints[0].sha256
    arguments = ("--data_dir", hr_folder, "--protocol", "steady", "--no_images", "--device", "cpu", "--threads", "1")
    damaged = ("--models", "5,-1", "--save_dir", "damaged")
    refused = command("-m", "eval", "run", *damaged, *arguments, code=1, ESR_WEIGHTS=str(tmp_path))
    assert "05_SPAN on photos refused: " in refused.stderr
    assert manifest_hash in refused.stderr
    result = command("-m", "eval", "run", "--models", "-1,3", *arguments)
    records = records_of(tmp_path / "results")
    assert [record["settings"]["protocol"] for record in records].count("accuracy") == 2
    timed = [record for record in records if record["settings"]["protocol"] == "steady"]
    assert len({record["timing"]["group"] for record in timed}) == 1
    assert len(timed) == 2
    assert result.returncode == 0, result.stderr
    assert "Ratio: of runtimes to Bicubic" in result.stdout
    command("-m", "eval", "report", "results", "--out", "page")
    assert r"\begin{tabular}" in (tmp_path / "page" / "leaderboard.tex").read_text()


def test_a_cache_folder_that_cannot_be_is_said_once(command, tmp_path: Path):
    (tmp_path / "file").touch()
    done = command("-m", "eval", "fetch", "weights", "--all", ESR_CACHE="file", code=1)
    assert done.stderr == (
        "error: file: this cache folder cannot be written (File exists); set ESR_CACHE to a folder that can be\n"
    )


def test_a_report_of_nothing_says_so(command, tmp_path: Path):
    result = command("-m", "eval", "report", "absent", code=2)
    assert "absent: no such file or folder; expected a folder given as --save_dir" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_package_of_an_extra_that_is_absent_is_told_with_its_command(command, tmp_path: Path, monkeypatch):
    write_record(make_record((30.0,), key="a" * 64), tmp_path / "in" / "records")
    for package, more in (("matplotlib", ["--figures"]), ("plotly", [])):
        monkeypatch.setitem(sys.modules, package, None)
        done = command("-m", "eval", "report", "in", "--out", "page", *more, code=2)
        expected = f'{package}, which is not installed; in the project\'s folder: pip install -e ".[report]"'
        assert (expected in done.stderr, done.stdout) == (True, "")
    # Pictures of many models are read for minutes.
    assert not (tmp_path / "page").exists()


def test_a_terminal_that_cannot_show_a_character_ends_no_run(program, hr_folder: Path):
    odd = hr_folder.rename(hr_folder.with_name("\u0444\u043e\u0442\u043e"))
    asked = ("--model_id", "-1", "--data_dir", odd, "--protocol", "accuracy", "--device", "cpu")
    done = program(PROJECT / "test_demo.py", *asked, PYTHONIOENCODING="ascii")
    assert r"\u0444\u043e\u0442\u043e" in done.stdout


def test_a_report_shows_what_ran_beside_a_set_of_which_nothing_did(command, tmp_path: Path):
    write_record(make_record((30.0,), key="a" * 64), tmp_path / "in" / "records")
    failed = {"status": "failed", "state": State.FAILED_TO_RUN, "reason": "broke", "images": ()}
    failed = make_record((30.0,), dataset="Other", key="b" * 64, **failed)
    write_record(failed, tmp_path / "in" / "records")
    done = command("-m", "eval", "report", "in", "--out", "page")
    assert "failed to run" in done.stdout.partition("Did not run")[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("export", "--model_id", "8", "--format", "onnx,tflite"),
            "--format onnx,tflite: expected onnx, ncnn, safetensors, hub, or several of them with commas",
        ),
        (
            ("export", "--model_id", "8", "--format", ","),
            "--format ,: expected onnx, ncnn, safetensors, hub, or several of them with commas",
        ),
    ],
)
def test_a_list_of_nothing_or_of_what_there_is_not_is_refused(command, tmp_path: Path, flags, message: str):
    result = command("-m", "eval", *flags, code=2)
    assert result.stderr == f"error: {message}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--models", ("run", "--models", ",")),
        ("--models", ("run", "--models", "")),
        ("--reference", ("run", "--model_file", "net.py:Net", "--data_range", "1", "--reference", ",")),
        ("--datasets", ("run", "--models", "-1", "--datasets", ",")),
        ("--datasets", ("data", ".", "--dataset", "")),
        ("--models", ("check", "--checkout", ".", "--models", ", ,")),
        ("--model_id", ("fetch", "weights", "--model_id", ",")),
        ("--datasets", ("score", ".", "--edition", "2026", "--datasets", ",")),
    ],
)
def test_a_list_that_names_nothing_is_wrong_usage(command, tmp_path: Path, flag: str, words: tuple):
    done = command("-m", "eval", *words, code=2)
    assert list(tmp_path.iterdir()) == []
    told = " ".join(done.stderr.split())
    assert flag in told
    assert f"expected one name or several with commas between, got {words[-1]!r}" in told


def test_a_set_that_may_be_taken_for_two_hides_no_other(command, tmp_path: Path, random_image):
    for name in ("a/HR", "b/HR", "b/GT", "c/HR"):
        write_png(tmp_path / name / "0.png", random_image(48, 48))
    for name in ("a/LQ", "b/LQ", "c/LQ"):
        write_png(tmp_path / name / "0.png", random_image(12, 12))
    done = command("-m", "eval", "data", tmp_path, code=1)
    assert [name for name in "abc" if f"data     {name}: 1 image in" in done.stdout] == ["a", "c"]
    assert f"{tmp_path}: holds b in more than one layout" in done.stderr
    assert "--data_dir" not in done.stderr
    # A name that no set has is wrong usage still.
    done = command("-m", "eval", "data", tmp_path, "--datasets", "d", code=2)
    assert "error: --dataset d: not in" in done.stderr


def failing_on(name: str) -> Callable:
    """Return an evaluation that fails on one set, and finds 30 dB on others."""

    def run(self: Evaluation, _models: list, datasets: list) -> list:
        record = make_record((30.0,), dataset=datasets[0].name)
        ending = {"status": "failed", "state": State.OUT_OF_MEMORY, "reason": "too little memory"}
        self.records.append(record.model_copy(update=ending if datasets[0].name == name else {}))
        return self.records

    return run


@pytest.mark.parametrize(("failing", "code"), [("Set14", 1), ("none", 0)])
def test_table1_of_which_a_run_failed_is_no_success(command, tmp_path: Path, random_image, monkeypatch, failing, code):
    monkeypatch.setattr(Evaluation, "run", failing_on(failing))
    for name in ("Set5", "Set14"):
        write_png(tmp_path / "sets" / name / "0.png", random_image(48, 48))
    done = command("-m", "eval", "table1", "--data_dir", tmp_path / "sets", "--device", "cpu", code=code)
    told = "Set14 (1 image), PFDNLite (selftrained): not measured: too little memory"
    assert (told in done.stdout) == bool(code)


def test_table1_says_what_is_wrong_with_a_set_that_is_here(tmp_path: Path, random_image):
    for name in ("HR", "GT", "LQ"):
        write_png(tmp_path / "Set5" / name / "0.png", random_image(12, 12))
    published = next(row for row in paper.read_table1()[1] if row.dataset == "Set5")
    (cell,) = table1._measure_set(None, {"PFDNLite": "no weights"}, published, tmp_path)
    assert f"--data_dir {tmp_path}: holds Set5 in more than one layout" in cell.missing
    (cell,) = table1._measure_set(None, {"PFDNLite": "no weights"}, published, tmp_path / "Set5" / "HR")
    assert cell.missing.startswith(f"images not found ({tmp_path / 'Set5' / 'HR'}); ")


def test_what_is_found_of_one_entry_is_kept_whatever_becomes_of_the_next(command, tmp_path: Path, monkeypatch):
    def found(*_asked: object) -> Iterator[tuple]:
        yield "09_first", [{"title": "Data range", "status": "pass"}]
        raise RunError("the second breaks")

    monkeypatch.setattr(checking, "check_entries", found)
    done = command("-m", "eval", "check", "--model_id", "-1", "--json", "new/found.json", code=1)
    assert done.stderr == "error: the second breaks\n"
    assert json.loads((tmp_path / "new" / "found.json").read_text()) == {
        "09_first": [{"title": "Data range", "status": "pass"}]
    }


@pytest.mark.parametrize(("place", "reason"), [("folder", "Is a directory"), ("file/found.json", "File exists")])
def test_where_json_cannot_be_written_nothing_is_checked_or_scored(command, tmp_path, monkeypatch, place, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(checking, "check_entries", lambda *_asked: pytest.fail("entries were checked"))
    monkeypatch.setattr(archive, "score_archive", lambda *_asked: pytest.fail("a zip was scored"))
    for words in (("check", "--model_id", "-1"), ("score-zip", "x.zip", "--hr", ".")):
        done = command("-m", "eval", *words, "--json", place, code=2)
        assert f"error: --json {place}: cannot be written: {reason}; name another file" in done.stderr


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("score", "absent", "--edition", "2026", "--save_dir"), "--save_dir"),
        (("report", "absent", "--out"), "--save_dir"),
        (("audit", "absent", "--out"), "--save_dir"),
        (("run", "--models", "absent", "--save_dir"), "--save_dir"),
        (("compare", "absent", "other", "--save_dir"), "--save_dir"),
        (("export", "--model_id", "absent", "--save_dir"), "--save_dir"),
        (("pack", "--model_id", "absent", "--save_dir"), "--save_dir"),
        (("fetch", "data", "absent", "--to"), "--to"),
        (("make-lr", "absent"), "LR_DIR"),
        (("host", "--hr", "absent"), "FOLDER"),
    ],
)
@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_a_file_where_a_folder_is_to_be_written_is_refused_before_anything_else(
    command, tmp_path: Path, words: tuple, flag: str, place: str
):
    (tmp_path / "file").touch()
    done = command("-m", "eval", *words, place, code=2)
    assert done.stderr == f"error: {flag} {place}: cannot be written: file is no folder; name another folder\n"


def test_a_key_in_weights_for_a_network_of_the_zoo_is_taken_by_each_command(command, tmp_path):
    torch.save({"params": find_model("8").build().state_dict()}, tmp_path / "w.pth")
    typed = ("--model_id", "8", "--weights", "w.pth", "--weights_key", "absent")
    for name in ("export", "profile"):
        said = command("-m", "eval", name, *typed, code=1).stderr
        assert "w.pth: --weights_key absent: there are the keys params" in " ".join(said.split())
    for takes_checkouts in (True, False):  # check, pack
        (source,) = checking.sources_of(Asked(weights_key="params"), "8", str(tmp_path / "w.pth"), takes_checkouts)
        assert source.checkpoint.key == "params"


@pytest.mark.parametrize("name", ["check", "pack"])
def test_networks_of_files_are_checked_and_packed_with_their_arguments(command, tmp_path, monkeypatch, name: str):
    def stop(asked: Asked, *_others: object, **_flags: object) -> None:
        raise RunError(f"{asked.model_args} {asked.weights_key}")

    monkeypatch.setattr(packing if name == "pack" else checking, "sources_of", stop)
    typed = ("--model_file", "n.py:N", "--model_args", "dim=8", "--weights_key", "ema", "--data_dir", tmp_path)
    assert "error: dim=8 ema" in command("-m", "eval", name, *typed, code=1).stderr
