"""What names of folders and files say: HR or LR, the scale, and which halves belong together."""

from pathlib import Path

import pytest

from eval.data.naming import lr_beside_hr, read_name, role_of, told_tails

ROLES = [
    ("GTmod12 GT gt", "HR", None, ()),
    ("HR_x4", "HR", 4, ()),
    ("DIV2K_valid_HR", "HR", None, ("DIV2K", "valid")),
    ("LRbicx4 LR4", "LR", 4, ()),
    ("LRbicx2", "LR", 2, ()),
    ("4LR", "LR", None, ("4",)),
    ("LR_unknown low_res", "LR", None, ()),
    ("Set5_LR_x4", "LR", 4, ("Set5",)),
    ("DIV2K_valid_LR_bicubic_X4", "LR", 4, ("DIV2K", "valid")),
    ("HR_from_LR", "LR", None, ("from",)),
    ("X4 4x", None, 4, ()),
    ("my_DSLR", None, None, ("my", "DSLR")),
    *((name, None, None, (name,)) for name in ("DSLR", "dslr", "slow", "flr", "hallways", "box4")),
]


@pytest.mark.parametrize(("names", "role", "scale", "rest"), ROLES, ids=str)
def test_one_folder(names: str, role: str | None, scale: int | None, rest: tuple[str, ...]):
    for name in names.split():
        read = read_name(name)
        assert (read.role, read.scale, read.rest) == (role, scale, rest), name


FOLDERS = {
    "LR": "Set5/LRbicx4 DIV2K_valid_LR_bicubic/X4 LR/LRBI/Set5/x4 LR/Set5 Test_LR/Set5",
    "HR": "HR/Set5/x4 lr_project/photos lowell/photos photos",
    "unclear": "Set5/X4 sharp_bicubic/X4/000",
}
STEMS = {
    "LR": ("ax4 bx4", "a_LR b_LR", "a_LRBI_x4 b_LRBI_x4", "a_bicLRx4 b_bicLRx4", "a_lq b_lq"),
    "HR": ("a_HR_x4 b_HR_x4", "ax4 b", "walrus a_walrus", ""),
}


@pytest.mark.parametrize(("role", "folder"), [(role, its) for role, all_ in FOLDERS.items() for its in all_.split()])
def test_a_folder_with_those_above_it(tmp_path: Path, folder: str, role: str):
    (tmp_path / folder).mkdir(parents=True)
    assert role_of(tmp_path / folder, ["a", "b"]) == role


@pytest.mark.parametrize(("role", "stems"), [(role, its) for role, all_ in STEMS.items() for its in all_])
def test_the_ends_of_all_names_tell(tmp_path: Path, stems: str, role: str):
    assert role_of(tmp_path / "photos", stems.split()) == role


def test_a_scale_beside_an_hr_folder_is_lr(tmp_path: Path):
    for folder in ("val1/HR/val", "val1/X4/val"):
        (tmp_path / folder).mkdir(parents=True)
    assert role_of(tmp_path / "val1/X4/val", ["a"]) == "LR"
    assert role_of(tmp_path / "val1/X4", ["a"]) == "LR"


def test_lr_in_the_folder_of_hr():
    assert lr_beside_hr(["a", "ax4", "b", "c_LR", "c"]) == {"ax4": "a", "c_LR": "c"}
    assert lr_beside_hr(["a", "b", "box4"]) == {}


@pytest.mark.parametrize(
    ("hr", "lr", "tails"),
    [
        (["baby", "bird"], ["baby_bicLRx4", "bird_bicLRx4"], ("", "_bicLRx4")),
        (["baby_HR_x4", "bird_HR_x4"], ["baby_LRBI_x4", "bird_LRBI_x4"], ("_HR_x4", "_LRBI_x4")),
        (["0801", "0811"], ["0801x4m", "0811x4m"], ("", "x4m")),
        (["a_GT"], ["a_LQ"], ("_GT", "_LQ")),
        (["a", "b", "c"], ["a-small", "b-small"], ("", "-small")),
        (["a", "b"], ["c", "d"], None),
    ],
)
def test_tails_are_told_from_the_names(hr: list[str], lr: list[str], tails: tuple[str, str] | None):
    assert told_tails(hr, lr) == tails
