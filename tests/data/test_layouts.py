"""Finding sets on disk: which layout fits, which sets a folder holds, and how files are paired by name."""

from pathlib import Path

import pytest

from eval.data.aliases import ALIASES
from eval.data.layouts import (
    LAYOUTS,
    Layout,
    has_images,
    image_files,
    is_paired,
    list_datasets,
    matching_layouts,
    pair_files,
)
from eval.data.pairs import ImagePair

CHALLENGE, DIV2K, SELFEXSR, BENCHMARK, HR_AND_LR = LAYOUTS


@pytest.fixture
def touch(tmp_path: Path):
    """Make empty files, for pairing goes by name alone."""

    def make(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return make


def names(layouts: list[Layout]) -> list[str]:
    return [layout.name for layout in layouts]


def test_the_layouts_and_both_spellings_of_the_challenge():
    assert names(LAYOUTS) == ["challenge", "DIV2K", "SelfExSR", "benchmark", "HR and LR"]
    assert ALIASES == {
        "valid": ("DIV2K_LSDIR_valid", "LSDIR_DIV2K_valid"),
        "test": ("DIV2K_LSDIR_test", "LSDIR_DIV2K_test"),
    }


@pytest.mark.parametrize(
    ("hr", "lr", "expected"),
    [
        ("S_HR/1.png", "S_LR/1x4.png", "challenge"),
        ("S_HR/1.png", "S_LR_bicubic/X4/1x4.png", "DIV2K"),
        ("S/image_SRF_4/1_HR.png", "S/image_SRF_4/1_LR.png", "SelfExSR"),
        ("S/HR/1.png", "S/LR_bicubic/X4/1x4.png", "benchmark"),
        ("S/HR/1.png", "S/LR/1.png", "HR and LR"),
    ],
)
def test_each_layout_is_known_by_its_folders(tmp_path: Path, touch, hr: str, lr: str, expected: str):
    touch(hr, lr)
    (layout,) = matching_layouts(tmp_path, "S")
    assert layout.name == expected
    assert pair_files(tmp_path, "S", layout) == ([ImagePair("1", tmp_path / lr, tmp_path / hr)], [])
    assert list_datasets(tmp_path) == ["S"]
    assert is_paired(tmp_path, "S")
    assert layout.in_own_folder == (not hr.startswith("S_"))


def test_other_scales_do_not_count(tmp_path: Path, touch):
    touch("S/HR/1.png", "S/LR_bicubic/X2/1x2.png", "S/LR_bicubic/X4/1x4.png")
    touch("T/image_SRF_2/1_HR.png", "T/image_SRF_2/1_LR.png")
    assert names(matching_layouts(tmp_path, "S")) == ["benchmark"]
    assert matching_layouts(tmp_path, "T") == []


def test_every_layout_that_is_complete_is_found(tmp_path: Path, touch):
    touch("S/HR/1.png", "S/LR/1.png", "S/LR_bicubic/X4/1.png", "S/image_SRF_4/1_HR.png")
    assert names(matching_layouts(tmp_path, "S")) == ["SelfExSR", "benchmark", "HR and LR"]


def test_a_complete_layout_is_preferred_to_one_without_lr(tmp_path: Path, touch):
    touch("S_HR/1.png", "S_LR_bicubic/X4/1x4.png")
    assert names(matching_layouts(tmp_path, "S")) == ["DIV2K"]


def test_without_lr_the_first_layout_says_where_it_belongs(tmp_path: Path, touch):
    touch("S/HR/1.png")
    (layout,) = matching_layouts(tmp_path, "S")
    folder = tmp_path / "S/LR_bicubic/X4"
    assert pair_files(tmp_path, "S", layout) == (
        [],
        [
            f"{folder}: no such folder; the LR images of the layout 'benchmark' belong there; "
            f"to have LR made by the exact bicubic, name the HR folder itself: {tmp_path / 'S/HR'}"
        ],
    )
    assert not is_paired(tmp_path, "S")
    assert list_datasets(tmp_path) == ["S"]


def test_an_hr_folder_without_images_is_named(tmp_path: Path, touch):
    touch("S/HR/readme.txt", "S/LR/1.png")
    (layout,) = matching_layouts(tmp_path, "S")
    assert pair_files(tmp_path, "S", layout) == (
        [],
        [
            f"{tmp_path / 'S/HR'}: no HR images (layout 'HR and LR')",
            f"{tmp_path / 'S/LR/1.png'}: has no HR partner in {tmp_path / 'S/HR'}",
        ],
    )


def test_files_and_absent_folders_fit_no_layout(tmp_path: Path, touch):
    touch("S/LR/1.png", "T/HR", "U_HR.png", "V_LR/1.png")
    for name in ("S", "T", "U", "V", "absent"):
        assert matching_layouts(tmp_path, name) == []
        assert not is_paired(tmp_path, name)


def test_folders_with_and_without_images(tmp_path: Path, touch):
    touch("S/HR/readme.txt", "S/LR/1.png")
    assert not has_images(tmp_path / "S/HR")
    assert not has_images(tmp_path / "absent")
    assert not has_images(tmp_path / "S/LR/1.png")
    assert has_images(tmp_path / "S/LR")


def test_images_of_a_folder_are_sorted_and_lie_directly_in_it(tmp_path: Path, touch):
    touch("b.png", "a.jpg", "B.png", "10.png", "9.png", "deeper/c.png", ".hidden.png", "notes.txt")
    assert [path.name for path in image_files(tmp_path)] == ["10.png", "9.png", "B.png", "a.jpg", "b.png"]


def test_sets_of_a_folder(tmp_path: Path, touch):
    touch("DIV2K_LSDIR_valid_HR/1.png", "DIV2K_LSDIR_valid_LR/1x4.png")
    touch("DIV2K_valid_HR/1.png", "DIV2K_valid_LR_bicubic/X4/1x4.png")
    touch(
        "Urban100/image_SRF_4/1_HR.png", "Set5/HR/1.png", "Set5/LR_bicubic/X4/1x4.png", "Mine/HR/1.png", "Mine/LR/1.png"
    )
    touch("photos/1.jpg", "DIV2K_test_LR/1.png", "[odd] name/1.png")
    touch(".cache/1.png", "papers/a.pdf", "nested/deeper/1.png", "loose.png")
    assert list_datasets(tmp_path) == [
        "DIV2K_LSDIR_valid",
        "DIV2K_test_LR",
        "DIV2K_valid",
        "Mine",
        "Set5",
        "Urban100",
        "[odd] name",
        "photos",
    ]


def test_an_hr_folder_alone_is_listed_by_its_own_name(tmp_path: Path, touch):
    touch("photos_HR/1.png", "Foo_HR/1.png", "Foo_LR/1x4.png", "Bar/1.png", "Bar_HR/2.png", "Bar_LR/2x4.png")
    assert list_datasets(tmp_path) == ["Bar", "Foo", "photos_HR"]


def test_pairs_are_sorted_by_hr_name_and_keep_their_suffixes(tmp_path: Path, touch):
    touch("S_HR/b.png", "S_HR/a.jpg", "S_HR/c.d.bmp", "S_LR/ax4.png", "S_LR/b.PNG", "S_LR/c.dx4.webp")
    hr, lr = tmp_path / "S_HR", tmp_path / "S_LR"
    assert pair_files(tmp_path, "S", CHALLENGE) == (
        [
            ImagePair("a", lr / "ax4.png", hr / "a.jpg"),
            ImagePair("b", lr / "b.PNG", hr / "b.png"),
            ImagePair("c.d", lr / "c.dx4.webp", hr / "c.d.bmp"),
        ],
        [],
    )


def test_a_name_that_ends_like_a_tail_finds_its_own_partner(tmp_path: Path, touch):
    touch("S_HR/a.png", "S_HR/ax4.png", "S_LR/ax4.png", "S_LR/ax4x4.png")
    hr, lr = tmp_path / "S_HR", tmp_path / "S_LR"
    assert pair_files(tmp_path, "S", CHALLENGE) == (
        [ImagePair("a", lr / "ax4.png", hr / "a.png"), ImagePair("ax4", lr / "ax4x4.png", hr / "ax4.png")],
        [],
    )


def test_missing_stray_and_double_partners_are_all_named(tmp_path: Path, touch):
    touch("S_HR/double.png", "S_HR/fine.png", "S_HR/missing.png")
    touch("S_LR/double.png", "S_LR/doublex4.png", "S_LR/finex4.png", "S_LR/stray.png", "S_LR/strayx4.png")
    hr, lr = tmp_path / "S_HR", tmp_path / "S_LR"
    pairs, faults = pair_files(tmp_path, "S", CHALLENGE)
    assert pairs == [ImagePair("fine", lr / "finex4.png", hr / "fine.png")]
    assert faults == [
        f"{hr / 'double.png'}: expected one LR partner, doublex4 or double in {lr}; "
        f"found {lr / 'doublex4.png'}, {lr / 'double.png'}",
        f"{hr / 'missing.png'}: expected one LR partner, missingx4 or missing in {lr}; found none",
        f"{lr / 'stray.png'}: has no HR partner in {hr}",
        f"{lr / 'strayx4.png'}: has no HR partner in {hr}",
    ]


def test_hr_images_that_differ_in_suffix_only_share_no_partner(tmp_path: Path, touch):
    touch("S_HR/a.png", "S_HR/a.bmp", "S_HR/b.png", "S_LR/ax4.png", "S_LR/bx4.png")
    hr, lr = tmp_path / "S_HR", tmp_path / "S_LR"
    assert pair_files(tmp_path, "S", CHALLENGE) == (
        [ImagePair("b", lr / "bx4.png", hr / "b.png")],
        [f"{hr / 'a.bmp'} and {hr / 'a.png'}: have the same name"],
    )


def test_partners_by_suffix_alone_are_double_too(tmp_path: Path, touch):
    touch("S/HR/a.png", "S/LR/a.png", "S/LR/a.bmp")
    hr, lr = tmp_path / "S/HR", tmp_path / "S/LR"
    assert pair_files(tmp_path, "S", HR_AND_LR) == (
        [],
        [f"{hr / 'a.png'}: expected one LR partner, ax4 or a in {lr}; found {lr / 'a.bmp'}, {lr / 'a.png'}"],
    )


def test_faults_where_both_halves_share_a_folder(tmp_path: Path, touch):
    folder = tmp_path / "S/image_SRF_4"
    touch("S/image_SRF_4/a_HR.png", "S/image_SRF_4/a_LR.png", "S/image_SRF_4/b_HR.png", "S/image_SRF_4/c_LR.png")
    assert pair_files(tmp_path, "S", SELFEXSR) == (
        [ImagePair("a", folder / "a_LR.png", folder / "a_HR.png")],
        [
            f"{folder / 'b_HR.png'}: expected one LR partner, b_LR in {folder}; found none",
            f"{folder / 'c_LR.png'}: has no HR partner in {folder}",
        ],
    )


def test_other_images_where_both_halves_share_a_folder_are_ignored(tmp_path: Path, touch):
    folder = tmp_path / "S/image_SRF_4"
    for tail in ("HR", "LR", "SRCNN", "bicubic", "nearest_x4"):
        touch(f"S/image_SRF_4/a_{tail}.png")
    touch("S/image_SRF_4/overview.png", "S/image_SRF_4/a.png")
    assert pair_files(tmp_path, "S", SELFEXSR) == ([ImagePair("a", folder / "a_LR.png", folder / "a_HR.png")], [])
