"""Finding sets on disk: which layout fits, which sets a folder holds, and how files are paired by name."""

import errno
import os
import unicodedata
from pathlib import Path
from string import Formatter

import pytest

from eval.data import layouts
from eval.data.finding import FolderError, find_dataset
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
from tests.refusals import said

_BY_NAME = {layout.name: layout for layout in LAYOUTS}
CHALLENGE, DIV2K, SELFEXSR, BENCHMARK, HR_AND_LR = (
    _BY_NAME[name] for name in ("challenge", "DIV2K", "SelfExSR", "benchmark", "HR and LR")
)


@pytest.fixture
def touch(tmp_path: Path):
    """Make empty files, for pairing goes by name alone."""

    def make(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return make


NEW = Layout("new", hr="{name}_target", lr="{name}_input")
OURS = Layout("ours", hr="{name}/HR", lr="{name}/LR", hr_tail="-full", lr_tails=("-quarter",))


@pytest.fixture(params=[*LAYOUTS, NEW, OURS], ids=lambda its: its.name)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Each row, and one that nobody has written yet."""
    monkeypatch.setattr(layouts, "LAYOUTS", tuple({**_BY_NAME, request.param.name: request.param}.values()))
    return request.param


def test_a_set_of_any_row_is_found_listed_and_paired(layout: Layout, tmp_path: Path, touch):
    lr_tail = layout.lr_tails[0]
    touch(f"{layout.hr}/1{layout.hr_tail}.png".format(name="S"), f"{layout.lr}/1{lr_tail}.png".format(name="S"))
    touch("other/1.png")
    assert matching_layouts(tmp_path, "S") == [layout]
    assert list_datasets(tmp_path) == ["S", "other"]
    (pair,), faults = pair_files(tmp_path, "S", layout)
    assert (pair.name, faults) == ("1", [])
    assert pair.lr.stem == f"1{lr_tail}"


def badly_written(layout: Layout) -> list[str]:
    """Return the halves of a row by which sets would not be found and listed."""
    fields = {
        half: [field for _, field, *_ in Formatter().parse(half) if field is not None]
        for half in (layout.hr, layout.lr)
    }
    return [half for half, its in fields.items() if its != ["name"] or "{name}" not in half.split("/")[0]]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda its: its.name)
def test_each_row_has_the_set_s_name_in_its_first_folder_and_no_other_braces(layout: Layout):
    """Where sets lie in folders of HR and LR without it, their words belong into eval/data/naming.py."""
    assert badly_written(layout) == []


@pytest.mark.parametrize(
    ("hr", "lr", "wrong"),
    [
        ("targets/{name}", "inputs/{name}", "targets/{name}"),
        ("{name}/HR", "LR", "LR"),
        ("HR", "LR", "HR"),
        ("{nme}/HR", "{name}/LR", "{nme}/HR"),
        ("{name}/HR", "{name}/{scale}", "{name}/{scale}"),
        ("{{name}}/HR", "{name}/LR", "{{name}}/HR"),
    ],
)
def test_a_row_by_which_sets_would_not_be_listed_is_noticed(hr: str, lr: str, wrong: str):
    assert wrong in badly_written(Layout("typed", hr, lr))


def test_folders_with_braces_are_found_by_their_words(tmp_path: Path, touch):
    touch("{name}/HR_1/a.png", "{name}/LR_1/a.png", "x{/GT/a.png", "x{/LQ/a.png")
    assert list_datasets(tmp_path, deeper=True) == ["name_1", "x"]


BY_X4 = Layout("by x4", hr="{name}/HR", lr="{name}/LR", lr_tails=("x4",))


@pytest.mark.parametrize(
    ("row", "files", "expected"),
    [
        (OURS, ("HR/p.png", "LR/p.png"), "HR and LR"),
        (OURS, ("HR/p-full.png", "LR/p-quarter.png"), "ours"),
        (OURS, ("HR/p-full.png", "LR/p-quarter.png", "HR/q-full.png", "LR/q-quarter.png", "HR/r.png"), "ours"),
        (OURS, ("HR/p_HR_x4.png", "LR/p_LRBI_x4.png"), "HR and LR"),
        (BY_X4, ("HR/p.png", "LR/px4.png"), "HR and LR"),
        (BY_X4, ("HR/p.png", "LR/px4.png", "LR/p.png"), "by x4"),
    ],
    ids=["theirs", "ours", "most", "told by names", "both alike", "one partner"],
)
def test_of_rows_with_the_same_folders_the_one_that_pairs_the_files_is_taken(
    tmp_path: Path, touch, monkeypatch: pytest.MonkeyPatch, row: Layout, files: tuple[str, ...], expected: str
):
    monkeypatch.setattr(layouts, "LAYOUTS", (*LAYOUTS, row))
    touch(*(f"Quux/{file}" for file in files))
    assert names(matching_layouts(tmp_path, "Quux")) == [expected]
    assert find_dataset(tmp_path, "Quux").layout == find_dataset(tmp_path / "Quux", None).layout == expected


def test_rows_that_pair_as_many_others_are_named_with_their_files(tmp_path: Path, touch, monkeypatch):
    monkeypatch.setattr(layouts, "LAYOUTS", (*LAYOUTS, OURS))
    touch("Quux/HR/p-full.png", "Quux/LR/p-quarter.png", "Quux/HR/q.png", "Quux/LR/q.png")
    inside = tmp_path / "Quux"
    assert said(FolderError, find_dataset, tmp_path, "Quux") == (
        f"--data_dir {tmp_path}: holds Quux in more than one layout: Quux (HR and LR), Quux (ours); each pairs other "
        f"files of the same folders: {inside}/HR/q.png with {inside}/LR/q.png (HR and LR), {inside}/HR/p-full.png with "
        f"{inside}/LR/p-quarter.png (ours); rename files so that one of them pairs all"
    )


def names(layouts: list[Layout]) -> list[str]:
    return [layout.name for layout in layouts]


def test_other_scales_do_not_count(tmp_path: Path, touch):
    touch("S/HR/1.png", "S/LR_bicubic/X2/1x2.png", "S/LR_bicubic/X4/1x4.png")
    touch("T/image_SRF_2/1_HR.png", "T/image_SRF_2/1_LR.png")
    assert names(matching_layouts(tmp_path, "S")) == ["benchmark"]
    assert matching_layouts(tmp_path, "T") == []


def test_a_link_that_leads_nowhere_hides_no_set(tmp_path: Path, touch, monkeypatch: pytest.MonkeyPatch):
    touch("S/HR/1.png", "S/LR/1.png", "photos/1.jpg", "private/1.png")
    for folder in (tmp_path, tmp_path / "photos"):
        (folder / "latest").symlink_to("latest")
        (folder / "elsewhere").symlink_to(tmp_path / "private")
    (tmp_path / "photos" / "loop.png").symlink_to("loop.png")
    iterate, status = Path.iterdir, os.stat

    def refusing(path, *arguments, **keywords):
        if "elsewhere" in str(path):
            raise PermissionError(errno.EACCES, "not allowed", str(path))
        return status(path, *arguments, **keywords)

    monkeypatch.setattr(os, "stat", refusing)
    assert list_datasets(tmp_path) == ["S", "photos", "private"]
    assert [path.name for path in image_files(tmp_path / "photos")] == ["1.jpg", "loop.png"]
    monkeypatch.setattr(os, "stat", status)

    def closed(path: Path):
        if path.name in ("elsewhere", "private"):
            raise PermissionError(errno.EACCES, "not allowed", str(path))
        return iterate(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    assert list_datasets(tmp_path) == ["S", "photos"]


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
    touch("photos/1.jpg", "DIV2K_test_LR/1.png", "[odd]_name/1.png")
    touch(".cache/1.png", "papers/a.pdf", "nested/deeper/1.png", "loose.png")
    known = "DIV2K_LSDIR_valid DIV2K_test_LR DIV2K_valid Mine Set5 Urban100 [odd]_name nested photos"
    assert list_datasets(tmp_path) == known.split()


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


@pytest.mark.parametrize(("hr", "lr"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize(("hr_tail", "lr_tail"), [("", "x4"), ("_GT", "_input")])
def test_names_pair_in_either_normal_form(tmp_path: Path, touch, hr: str, lr: str, hr_tail: str, lr_tail: str):
    name, its_lr = (unicodedata.normalize(form, "Žofín") for form in (hr, lr))
    touch(f"S/HR/{name}{hr_tail}.png", f"S/LR/{its_lr}{lr_tail}.png")
    pair = ImagePair(name, tmp_path / f"S/LR/{its_lr}{lr_tail}.png", tmp_path / f"S/HR/{name}{hr_tail}.png")
    assert pair_files(tmp_path, "S", HR_AND_LR) == ([pair], [])


def test_a_name_that_ends_like_a_tail_finds_its_own_partner(tmp_path: Path, touch):
    touch("S_HR/a.png", "S_HR/ax4.png", "S_LR/ax4.png", "S_LR/ax4x4.png")
    hr, lr = tmp_path / "S_HR", tmp_path / "S_LR"
    assert pair_files(tmp_path, "S", CHALLENGE) == (
        [ImagePair("a", lr / "ax4.png", hr / "a.png"), ImagePair("ax4", lr / "ax4x4.png", hr / "ax4.png")],
        [],
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
