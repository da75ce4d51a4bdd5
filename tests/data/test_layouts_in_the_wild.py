"""Folders of images as people unpack them: pairs where names tell, LR never taken for HR, an error that asks else."""

import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import eval.api
from eval.cli.app import app
from eval.data.datasets import open_dataset
from eval.data.description import description
from eval.data.finding import HR_FOLDER, LR_FOLDER, sets_in
from eval.data.images import write_png
from eval.errors import UsageError
from eval.report.page.gallery import find_dataset
from eval.submission.audit_data import locate

NAMES = ("baby", "bird")


def build(root: Path, patterns: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    for pattern, side in patterns.items():
        for name in NAMES:
            write_png(root / pattern.format(name), rng.integers(0, 255, (side, side, 3), dtype=np.uint8))


# How to open it (folder, set), what is cut off the paths that are told, and the files: HR, LR, and others beside them.
PAIRED = {
    "benchmark of BasicSR": ("", "Set5", "", "Set5/GTmod12/{} Set5/LRbicx4/{} Set5/LRbicx2/{}"),
    "the same, the set itself": ("Set5", None, "Set5/", "Set5/GTmod12/{} Set5/LRbicx4/{} Set5/LRbicx2/{}"),
    "with whole images": ("", "Set5", "", "Set5/GTmod12/{} Set5/LRbicx4/{} Set5/original/{} Set5/LRbicx3/{}"),
    "with whole images, the set itself": ("Set5", None, "Set5/", "Set5/GTmod12/{} Set5/LRbicx4/{} Set5/original/{}"),
    "GT and GT cut": ("", "S", "", "S/GT_modcrop/{} S/LQ/{} S/GT/{}"),
    "RCAN": ("", "Set5", "", "HR/Set5/x4/{}_HR_x4 LR/LRBI/Set5/x4/{}_LRBI_x4 HR/Set5/x2/{}_HR_x2"),
    "RCAN's only set": ("", None, "", "HR/Set5/x4/{}_HR_x4 LR/LRBI/Set5/x4/{}_LRBI_x4"),
    "RCAN in a folder": ("", None, "S/", "S/HR/Set5/x4/{}_HR_x4 S/LR/LRBI/Set5/x4/{}_LRBI_x4"),
    "RCAN in a folder, by name": ("", "S", "S/", "S/HR/Set5/x4/{}_HR_x4 S/LR/LRBI/Set5/x4/{}_LRBI_x4"),
    "HR and LR by scale": ("S", None, "S/", "S/HR/x4/{} S/LR/x4/{}"),
    "LR by scale": ("S", None, "S/", "S/HR/{} S/LR/x4/{} S/LR/x2/{}"),
    "tails of a known layout": ("", "Set5", "", "Set5/HR/{}_HR_x4 Set5/LR_bicubic/X4/{}_LRBI_x4"),
    "HR and LQ": ("", None, "", "HR/{} LQ/{}x4"),
    "gt and lq": ("", "Set5", "", "Set5/gt/{} Set5/lq/{}"),
    "gt and input": ("", "Set5", "", "Set5/gt/{} Set5/input/{}"),
    "target and input": ("Set5", None, "Set5/", "Set5/target/{} Set5/input/{}"),
    "LQ before input, GT before target": ("", "Set5", "", "Set5/GT/{} Set5/LQ/{} Set5/input/{} Set5/target/{}"),
    "LSDIR": ("val1", None, "val1/", "val1/HR/val/{} val1/X4/val/{}x4"),
    "LSDIR by name": ("", "val1", "val1/", "val1/HR/val/{} val1/X4/val/{}x4"),
    "a hub's": ("", "Set5", "", "Set5_HR/{} Set5_LR_x4/{}"),
    "unpacked twice": (
        "", "DIV2K_valid", "",
        "DIV2K_valid_HR/DIV2K_valid_HR/{} DIV2K_valid_LR_bicubic_X4/DIV2K_valid_LR_bicubic/X4/{}x4",
    ),
    "bicubic before unknown": ("", "S", "", "S/GT/{} S/LR_bic/x4/{} S/LR_unknown/x4/{}"),
    "in a folder of its own name": ("", "Set5", "", "Set5/Set5/HR/{} Set5/Set5/LR_bicubic/X4/{}x4"),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRED)
def test_pairs(tmp_path: Path, case: str):
    data_dir, name, cut, text = PAIRED[case]
    hr, lr, *others = text.split()
    sides = {
        its: 35 if "original" in its else 32 if "HR" in its or "GT" in its else 8 if "x4" in its else 16
        for its in others
    } | {hr: 32, lr: 8}
    build(tmp_path, {f"{its}.png": side for its, side in sides.items()})
    dataset = open_dataset(tmp_path / data_dir, name)
    assert [pair.name for pair in dataset.pairs] == list(NAMES)
    assert dataset.has_hr
    assert all(pair.lr for pair in dataset.pairs)
    told_hr, told_lr = (its.removeprefix(cut).format("NAME") for its in (hr, lr))
    assert description(dataset) == [f"HR: {told_hr}; LR: {told_lr}"]
    assert dataset.name in ("Set5", "val1", "DIV2K_valid", "S", tmp_path.name)
    # It is found again where its record says that it lies, as a report does.
    record = SimpleNamespace(dataset=SimpleNamespace(name=dataset.name, layout=dataset.layout, folder=dataset.folder))
    assert find_dataset(record).pairs == dataset.pairs


LR_ALONE = {
    "Set5/LRbicx4": {"Set5/GTmod12/{}.png": 32, "Set5/LRbicx4/{}.png": 8},
    "DIV2K_valid_LR_bicubic/X4": {"DIV2K_valid_HR/{}.png": 32, "DIV2K_valid_LR_bicubic/X4/{}x4.png": 8},
    "photos": {"photos/{}x4.png": 8},
    "val1/X4/val": {"val1/HR/val/{}.png": 32, "val1/X4/val/{}.png": 8},
}


@pytest.mark.parametrize("folder", LR_ALONE)
def test_an_lr_folder_is_never_measured_as_hr(tmp_path: Path, folder: str):
    build(tmp_path, LR_ALONE[folder])
    dataset = open_dataset(tmp_path / folder, None)
    assert (dataset.layout, dataset.has_hr, len(dataset.pairs)) == (LR_FOLDER, False, 2)
    assert description(dataset)[0].startswith("HR: none, so there is no ground truth and no PSNR; LR: NAME")


def test_hr_whose_lr_lies_near_says_so(tmp_path: Path):
    build(tmp_path, {"Set5/original/{}.png": 32, "Set5/LRbicx4/{}.png": 8})
    dataset = open_dataset(tmp_path / "Set5" / "original", None)
    assert dataset.layout == HR_FOLDER
    assert description(dataset) == [
        "HR: NAME; LR: made of HR by MATLAB's bicubic",
        f"not used: the LR images in {tmp_path}/Set5/LRbicx4; to measure pairs, name the folder that holds both halves",
    ]


def test_input_beside_hr_is_never_measured_as_hr(tmp_path: Path):
    build(tmp_path, {"Inputs/Set5/{}.png": 32, "Targets/Set5/{}.png": 128, "S/gt/{}.png": 32, "S/input/X4/{}.png": 8})
    build(tmp_path, {"T/target/{}.png": 32, "T/input/{}.png": 8, "U/target/{}.png": 32, "U/input/X4/{}.png": 8})
    for folder in ("Inputs", "Inputs/Set5", "S/input/X4", "T/input", "U/input"):
        with pytest.raises(
            UsageError, match=r"cannot tell whether these are HR or LR.*folders LR and HR beside each other"
        ):
            open_dataset(tmp_path / folder, None)
    with pytest.raises(UsageError, match="cannot tell whether"):
        open_dataset(tmp_path / "Inputs", "Set5")
    for folder in ("Targets", "T/target", "U/target"):
        assert open_dataset(tmp_path / folder, None).layout == HR_FOLDER
    assert sets_in(tmp_path / "U") == ["input", "target"]
    assert sets_in(tmp_path / "T") == [None]


def test_input_and_target_of_one_size_are_no_pair(tmp_path: Path):
    build(tmp_path, {"target/{}.png": 32, "input/{}.png": 32})
    assert sets_in(tmp_path) == ["input", "target"]
    assert open_dataset(tmp_path, "target").layout == HR_FOLDER
    with pytest.raises(UsageError, match="cannot tell whether"):
        open_dataset(tmp_path, "input")


def test_input_says_nothing_without_hr_beside_it(tmp_path: Path):
    build(tmp_path, {"T/photos/{}.png": 32, "T/input/{}.png": 32, "U/target/{}.png": 32})
    build(tmp_path, {"input/Set5/HR/{}.png": 32, "input/Set5/LR/{}.png": 8, "HR_photos/{}.png": 32})
    for folder in ("T/photos", "T/input", "U/target"):
        dataset = open_dataset(tmp_path / folder, None)
        assert (dataset.layout, len(description(dataset))) == (HR_FOLDER, 1), folder
    assert sets_in(tmp_path / "T") == ["input", "photos"]
    assert open_dataset(tmp_path, "input_Set5").name == "input_Set5"


def test_a_scale_alone_asks(tmp_path: Path):
    build(tmp_path, {"Set5/X4/{}.png": 32})
    with pytest.raises(UsageError, match=r"whether these are HR or LR images.*Rename the folder, or link to it"):
        open_dataset(tmp_path / "Set5" / "X4", None)


def test_hr_and_lr_in_one_folder(tmp_path: Path):
    build(tmp_path, {"Set5/{}.png": 32, "Set5/{}x4.png": 8})
    with pytest.raises(UsageError, match=r"HR and LR images in one folder, by the names of 2 of them \(babyx4, for"):
        open_dataset(tmp_path / "Set5", None)


def test_two_ways_are_asked_about(tmp_path: Path):
    build(tmp_path, {"S/GT/{}.png": 32, "S/HR/{}.png": 32, "S/LQ/{}.png": 8})
    with pytest.raises(UsageError, match=r"S/GT with S/LQ.*S/HR with S/LQ.*keep one"):
        open_dataset(tmp_path, "S")


def test_the_command_that_looks(tmp_path: Path):
    build(tmp_path, {"Set5/GT/{}.png": 32, "Set5/LQ/{}.png": 8, "my photos/{}.png": 32, "old/{}.png": 32})
    (tmp_path / "old" / "baby.png").write_bytes(b"")
    result = CliRunner().invoke(app, ["data", str(tmp_path)])
    assert result.exit_code == 1
    said = result.stdout
    assert "data     Set5: 2 images in" in said
    assert "HR: Set5/GT/NAME; LR: Set5/LQ/NAME" in said
    assert f"python test_demo.py --model_id 3 --data_dir {tmp_path} --dataset 'my photos'" in said
    assert "--dataset old: cannot be used; 1 fault found" in result.stderr
    assert CliRunner().invoke(app, ["data", str(tmp_path / "my photos")]).exit_code == 0


def test_the_command_tells_what_is_unclear_and_goes_on(tmp_path: Path):
    build(tmp_path, {"a/GT/{}.png": 32, "a/HR/{}.png": 32, "a/LQ/{}.png": 8, "b/{}.png": 32, "{}.png": 32})
    result = CliRunner().invoke(app, ["data", str(tmp_path)])
    assert result.exit_code == 1
    assert ": holds a in more than one layout" in result.stderr
    for name in ("b", tmp_path.name):
        assert f"data     {name}: 2 images in" in result.stdout


def test_sets_at_any_depth_are_listed_once_and_opened_by_their_paths(tmp_path: Path):
    build(tmp_path, {f"BSDS500/{part}/{{}}.png": 32 for part in ("train", "test")})
    build(tmp_path, {"all/Set5/HR/{}.png": 32, "all/Set5/LR/{}.png": 8, "all/photos/{}.png": 32, "own/{}.png": 32})
    build(tmp_path, {"B100/GTmod12/{}.png": 32, "B100/LRbicx4/{}.png": 8, "B100/LRbicx2/{}.png": 16})
    names = ["B100", "BSDS500/test", "BSDS500/train", "all/photos", "all_Set5", "own"]
    assert sets_in(tmp_path) == names
    opened = [open_dataset(tmp_path, name) for name in names]
    assert [its.name for its in opened] == ["B100", "BSDS500_test", "BSDS500_train", "all_photos", "all_Set5", "own"]
    assert [len(its.pairs) for its in opened] == [2] * 6
    # Of a folder alone, the one set that lies directly in it is meant.
    build(tmp_path, {"mixed/Set5/{}.png": 32, "mixed/rest/a/{}.png": 32, "mixed/rest/b/{}.png": 32})
    assert open_dataset(tmp_path / "mixed", None).name == "Set5"
    build(tmp_path, {"more/all/a/{}.png": 32, "more/all/b/{}.png": 32, "more/c/c/{}.png": 32, "more/c/d/{}.png": 32})
    with pytest.raises(UsageError, match="choose by --dataset: all/a, all/b, c/c, c/d, sample"):
        open_dataset(tmp_path / "more", None)


HALVES_OF_SETS = {
    "RCAN": ("HR/{}/x4/{{}}.png LR/LRBI/{}/x4/{{}}.png", "B100 Set14 Set5"),
    "by part": ("HR/{}/{{}}.png LR/{}/{{}}.png", "train valid"),
    "HR alone": ("HR/{}/{{}}.png", "train valid"),
}


@pytest.mark.parametrize("case", HALVES_OF_SETS)
def test_hr_and_lr_that_hold_folders_of_sets_are_several_sets(tmp_path: Path, case: str):
    patterns, names = HALVES_OF_SETS[case]
    for name in names.split():
        build(tmp_path, {its: 8 if "LR" in its else 32 for its in patterns.format(name, name).split()})
    listed = ", ".join([*names.split(), "sample"])
    with pytest.raises(UsageError, match=f"holds several sets; choose by --dataset: {listed}$"):
        open_dataset(tmp_path, None)


def test_images_of_one_kind_are_called_by_the_name_of_their_set(tmp_path: Path):
    build(tmp_path, {"one/LR/{}.png": 8, "two/LR/x4/{}.png": 8, "three/GT/{}.png": 32})
    layouts = {"one": LR_FOLDER, "two": LR_FOLDER, "three": HR_FOLDER}
    for name, layout in layouts.items():
        for its in (open_dataset(tmp_path, name), open_dataset(tmp_path / name, None)):
            assert (its.name, its.layout) == (name, layout)


def test_an_unclear_set_hides_no_other(tmp_path: Path):
    build(tmp_path, {"GT/{}.png": 32, "HR/{}.png": 32, "LQ/{}.png": 8, "Set5/HR/{}.png": 32, "Set5/LQ/{}.png": 8})
    assert sets_in(tmp_path) == [None, "Set5"]
    unclear, clear = locate(tmp_path)
    assert "in more than one layout" in unclear.faults[0]
    assert (clear.name, len(clear.pairs)) == ("Set5", 2)


def test_a_set_that_may_not_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    build(tmp_path, {"S/HR/{}.png": 32, "S/LR/{}.png": 8, "T/{}.png": 32})
    iterate = Path.iterdir

    def refusing(self: Path):
        if self.name == "LR":
            raise PermissionError(13, "Permission denied", str(self))
        return iterate(self)

    monkeypatch.setattr(Path, "iterdir", refusing)
    result = CliRunner().invoke(app, ["data", str(tmp_path)])
    assert f"{tmp_path}/S/LR: cannot be read (Permission denied)" in result.stderr
    assert "data     T: 2 images in" in result.stdout
    assert [its.name for its in locate(tmp_path) if not its.faults] == ["T"]


def test_a_link_to_a_folder_that_holds_it_shows_nothing_twice(tmp_path: Path):
    build(tmp_path, {"Set5/GT/{}.png": 32, "Set5/LQ/{}.png": 8})
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "again").symlink_to("Set5")
    assert sets_in(tmp_path) == ["Set5", "again"]


@pytest.mark.parametrize(("hr", "lr"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_how_files_pair_is_said_in_one_line_in_either_normal_form(tmp_path: Path, hr: str, lr: str):
    for name in ("Žofín", "façade"):
        of_hr, of_lr = (unicodedata.normalize(form, name) for form in (hr, lr))
        build(tmp_path, {f"S/HR/{of_hr}_{{}}.png": 32, f"S/LR/{of_lr}_{{}}x4.png": 8})
    assert description(open_dataset(tmp_path, "S"))[0] == "HR: S/HR/NAME; LR: S/LR/NAMEx4"


def test_what_a_mac_adds_to_a_zip_is_no_set(tmp_path: Path):
    build(tmp_path, {"S/HR/{}.png": 32, "S/LR/{}.png": 8, "__MACOSX/S/HR/._{}.png": 4, "__MACOSX/S/LR/._{}.png": 4})
    assert [its.name for its in locate(tmp_path)] == ["S"]
    assert open_dataset(tmp_path, None).layout == "HR and LR"
    build(tmp_path, {"T/GT/{}.png": 32, "T/LQ/{}.png": 8})
    assert sets_in(tmp_path) == ["S", "T"]


def test_lr_of_another_scale_or_degradation_is_no_set_of_its_own(tmp_path: Path):
    for name in ("Set5", "Set14"):
        build(tmp_path, {f"HR/{name}/x4/{{}}.png": 32, f"LR/LRBI/{name}/x4/{{}}.png": 8})
    build(tmp_path, {"HR/Set5/x3/{}.png": 33, "LR/LRBD/Set5/x3/{}.png": 11})
    assert sets_in(tmp_path) == ["Set14", "Set5"]
    build(tmp_path, {"LR/LRDN/Set5/x4/{}.png": 8, "LRBD/Set5/x4/{}.png": 8, "B100/LRbicx2/{}.png": 8})
    assert sets_in(tmp_path) == ["Set14", "Set5"]
    build(tmp_path, {"photos_x2/{}.png": 32, "own/LRBD/x4/{}.png": 8})
    assert sets_in(tmp_path) == ["Set14", "Set5", "own", "photos_x2"]
    build(tmp_path / "none", {"LRbicx2/{}.png": 8, "LRbicx3/{}.png": 8})
    with pytest.raises(UsageError, match="holds no images and no set at x4 in a known layout"):
        open_dataset(tmp_path / "none", None)


def test_lr_of_another_scale_is_no_half_to_pair_with(tmp_path: Path):
    build(tmp_path, {"S/GT/{}.png": 48, "S/LRbicx3/{}.png": 16})
    assert description(open_dataset(tmp_path / "S" / "GT", None)) == ["HR: NAME; LR: made of HR by MATLAB's bicubic"]


def test_the_command_tells_a_file_and_shows_commands_that_run(tmp_path: Path):
    build(tmp_path, {"a,b/{}.png": 32, "c/{}.png": 32})
    (tmp_path / "c" / "bird.png").unlink()
    said = CliRunner().invoke(app, ["data", str(tmp_path)]).stdout
    assert f"python test_demo.py --model_id 3 --data_dir {tmp_path}/a,b\n" in said
    assert "data     c: 1 image in" in said
    result = CliRunner().invoke(app, ["data", str(tmp_path / "c" / "baby.png")])
    assert "baby.png: a file, no folder; give the folder" in str(result.exception)


def test_a_set_with_folders_of_results_in_it_is_one_set(tmp_path: Path):
    build(
        tmp_path, {"Set5/image_SRF_4/{}_HR.png": 32, "Set5/image_SRF_4/{}_LR.png": 8, "Set5/image_SRF_2/{}_HR.png": 3}
    )
    build(tmp_path, {"own/HR/{}.png": 32, "own/LR/{}.png": 8, "own/bicubic/{}.png": 32, "own/net/{}.png": 32})
    assert sets_in(tmp_path) == ["Set5", "own"]
    assert [sets_in(tmp_path / name) for name in ("Set5", "own", "own/HR")] == [[None]] * 3
    for name in ("Set5", "Set14"):
        build(tmp_path / "rcan", {f"HR/{name}/x4/{{}}.png": 32, f"LR/LRBI/{name}/x4/{{}}.png": 8})
    assert sets_in(tmp_path / "rcan") == ["Set14", "Set5"]


def test_a_home_folder_is_expanded_in_flags_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    build(tmp_path, {"sets/Set5/GT/{}.png": 32, "sets/Set5/LQ/{}.png": 8})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for words in (["~/sets"], ["--data_dir=~/sets"]):
        result = CliRunner().invoke(app, ["data", *words])
        assert (result.exit_code, "Set5: 2 images" in result.stdout) == (0, True)
    monkeypatch.setenv("ESR_DATA", "~/sets")
    assert "Set5: 2 images" in CliRunner().invoke(app, ["data"]).stdout
    assert eval.api.open_dataset("Set5").name == "Set5"
    assert eval.api.open_dataset("~/sets/Set5").name == "Set5"
    CliRunner().invoke(app, ["make-lr", "~/sets/Set5/GT", "~/made"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "sets"]


def test_folders_that_may_not_be_read_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    build(tmp_path, {"Set5/GT/{}.png": 32, "Set5/LQ/{}.png": 8})
    (tmp_path / "private").mkdir()
    iterate = Path.iterdir

    def refusing(self: Path):
        if self.name == "private":
            raise PermissionError
        return iterate(self)

    monkeypatch.setattr(Path, "iterdir", refusing)
    assert open_dataset(tmp_path, "Set5").layout == "Set5/GT with Set5/LQ"
