"""Opening sets of images: every layout, and every fault, alone and all at once, before any network runs."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import eval.data.finding
from eval.data.datasets import SAMPLE_FILES, Dataset, open_dataset
from eval.data.description import description
from eval.data.finding import HR_FOLDER, LR_FOLDER
from eval.data.images import ImageSize, read_image, write_png
from eval.data.naming import read_name
from eval.data.pairs import ImagePair
from eval.errors import RunError, UsageError
from eval.report.page.gallery import find_dataset
from eval.words import counted

# layout, folder of HR, folder of LR, tail of an HR file's name, tail of an LR file's name
LAYOUTS = [
    ("challenge", "S_HR", "S_LR", "", "x4"),
    ("DIV2K", "S_HR", "S_LR_bicubic/X4", "", "x4"),
    ("SelfExSR", "S/image_SRF_4", "S/image_SRF_4", "_HR", "_LR"),
    ("benchmark", "S/HR", "S/LR_bicubic/X4", "", "x4"),
    ("HR and LR", "S/HR", "S/LR", "", ""),
]
IN_ONE_FOLDER = LAYOUTS[2:]
ODD_NAMES = sorted("two words|ünïcode 日本|[a]{b}*|-dash|new\nline|100%s|a.b.c|~home|'\"$(x)|{name}".split("|"))
ADVICE = "docs/data.md says where sets come from and how their folders are called"


@pytest.fixture
def put(tmp_path: Path, random_image) -> Callable[..., Path]:
    """Write noise at a path under the temporary folder."""

    def write(name: str, height: int = 16, width: int = 20) -> Path:
        path = tmp_path / name
        if path.suffix == ".png":
            write_png(path, random_image(height, width))
        else:
            write_png(path.with_name("noise.png"), random_image(height, width))
            path.with_name("noise.png").rename(path)
        return path

    return write


def every_way(folder: Path) -> list[Dataset]:
    """Open a set by its name, as the only one that is there, and as the folder that is given."""
    return [open_dataset(folder.parent, folder.name), open_dataset(folder.parent, None), open_dataset(folder, None)]


def refused(kind: type[Exception], data_dir: Path | None, name: str | None) -> str:
    with pytest.raises(kind) as caught:
        open_dataset(data_dir, name)
    return str(caught.value)


def faults(data_dir: Path, name: str, called: str | None = None) -> list[str]:
    """Return the faults that the one error lists, and compare the number that it states."""
    first, *rest = refused(RunError, data_dir, name).splitlines()
    assert all(line.startswith("  ") for line in rest)
    assert first == f"--dataset {called or name}: cannot be used; {counted(len(rest), 'fault')} found"
    return [line.removeprefix("  ") for line in rest]


def offenders(found: list[str]) -> list[str]:
    return [fault.split(": ")[0] for fault in found]


class TestLayouts:
    @pytest.mark.parametrize(("layout", "hr", "lr", "hr_tail", "lr_tail"), LAYOUTS, ids=[row[0] for row in LAYOUTS])
    @pytest.mark.parametrize("named", [True, False])
    def test_each_one(self, tmp_path: Path, put, layout, hr, lr, hr_tail, lr_tail, named: bool):
        hrs = [put(f"{hr}/{stem}{hr_tail}.png", 16, width) for stem, width in (("a", 20), ("b", 24))]
        lrs = [put(f"{lr}/{stem}{lr_tail}.png", 4, width) for stem, width in (("a", 5), ("b", 6))]
        assert open_dataset(tmp_path, "S" if named else None) == Dataset(
            name="S",
            layout=layout,
            folder=tmp_path,
            pairs=(ImagePair("a", lrs[0], hrs[0]), ImagePair("b", lrs[1], hrs[1])),
            lr_sizes=(ImageSize(4, 5), ImageSize(4, 6)),
        )

    @pytest.mark.parametrize(
        ("layout", "hr", "lr", "hr_tail", "lr_tail"), IN_ONE_FOLDER, ids=[row[0] for row in IN_ONE_FOLDER]
    )
    def test_the_folder_of_a_set_itself(self, tmp_path, put, monkeypatch, layout, hr, lr, hr_tail, lr_tail):
        pair = ImagePair("a", put(f"{lr}/a{lr_tail}.png", 4, 5), put(f"{hr}/a{hr_tail}.png"))
        put("other/b.png")
        expected = ("S", layout, (pair,))
        dataset = open_dataset(tmp_path / "S", None)
        assert (dataset.name, dataset.layout, dataset.pairs) == expected
        monkeypatch.chdir(tmp_path / "S")
        dataset = open_dataset(Path("."), None)
        assert (dataset.name, dataset.layout, dataset.pairs) == expected

    @pytest.mark.parametrize("alias", ["valid", "test"])
    @pytest.mark.parametrize("spelling", ["DIV2K_LSDIR", "LSDIR_DIV2K"])
    @pytest.mark.parametrize("lr", ["_LR/1x4.png", "_LR_bicubic/X4/1x4.png", "_LR/1.png"])
    def test_the_sets_of_the_challenge_by_alias(self, tmp_path: Path, put, alias: str, spelling: str, lr: str):
        full = f"{spelling}_{alias}"
        pair = ImagePair("1", put(full + lr, 4, 5), put(f"{full}_HR/1.png"))
        for name in (alias, full, None):
            dataset = open_dataset(tmp_path, name)
            assert (dataset.name, dataset.pairs, dataset.has_hr) == (full, (pair,), True)

    def test_without_a_name_valid_is_meant_though_test_is_there(self, tmp_path: Path, put):
        for split in ("valid", "test"):
            put(f"LSDIR_DIV2K_{split}_HR/{split}.png")
            put(f"LSDIR_DIV2K_{split}_LR/{split}x4.png", 4, 5)
        assert open_dataset(tmp_path, None).name == "LSDIR_DIV2K_valid"
        assert open_dataset(tmp_path, "test").name == "LSDIR_DIV2K_test"

    def test_hr_images_alone_get_their_lr_from_the_exact_bicubic(self, tmp_path: Path, put):
        path = put("photos/a.png", 31, 22)
        for dataset in every_way(tmp_path / "photos"):
            assert (dataset.name, dataset.layout, dataset.has_hr) == ("photos", HR_FOLDER, True)
            assert dataset.pairs == (ImagePair("a", lr=None, hr=path),)
            assert dataset.lr_sizes == (ImageSize(7, 5),)

    @pytest.mark.parametrize(
        "folder",
        [
            *("DIV2K_test_LR", "lr", "Mine_lr", "LR", "x_LR", "set-LR", "my LR", "v2.LR", "4LR", "x_LRs", "LR_old"),
            *("LRbicx4", "LQ", "LRBI", "LR_unknown", "low_res", "LowRes", "Set5LR", "valLR", "lq_x4"),
        ],
    )
    def test_lr_images_alone(self, tmp_path: Path, put, folder: str):
        paths = [put(f"{folder}/1.png", 3, 5), put(f"{folder}/2.png", 7, 4)]
        # A folder whose name is no set's is called by the one that holds it, if that was given.
        holder = tmp_path.name if read_name(folder).is_bare else folder
        for dataset, called in zip(every_way(tmp_path / folder), (folder, holder, folder), strict=True):
            assert (dataset.name, dataset.layout, dataset.has_hr) == (called, LR_FOLDER, False)
            assert dataset.pairs == (ImagePair("1", paths[0], None), ImagePair("2", paths[1], None))
            assert dataset.lr_sizes == (ImageSize(3, 5), ImageSize(7, 4))

    @pytest.mark.parametrize("alias", ["valid", "test"])
    @pytest.mark.parametrize("spelling", ["DIV2K_LSDIR", "LSDIR_DIV2K"])
    def test_the_challenge_without_public_hr(self, tmp_path: Path, put, alias: str, spelling: str):
        path = put(f"{spelling}_{alias}_LR/1x4.png", 4, 5)
        put(f"{spelling}_other_LR/2x4.png", 4, 5)
        dataset = open_dataset(tmp_path, alias)
        assert (dataset.layout, dataset.folder, dataset.has_hr) == (LR_FOLDER, path.parent, False)
        assert dataset.pairs == (ImagePair("1x4", path, None),)

    def test_a_whole_set_of_the_challenge_is_preferred_to_one_without_hr(self, tmp_path: Path, put):
        put("DIV2K_LSDIR_test_LR/1x4.png", 4, 5)
        put("LSDIR_DIV2K_test_LR/2x4.png", 4, 5)
        put("LSDIR_DIV2K_test_HR/2.png")
        assert open_dataset(tmp_path, "test").name == "LSDIR_DIV2K_test"

    def test_a_folder_of_the_alias_is_preferred_to_one_without_hr(self, tmp_path: Path, put):
        path = put("test/1.png")
        put("DIV2K_LSDIR_test_LR/1x4.png", 4, 5)
        assert open_dataset(tmp_path, "test").pairs == (ImagePair("1", None, path),)

    @pytest.mark.parametrize("lr", ["Foo_LR/2x4.png", "Foo_LR_bicubic/X4/2x4.png"])
    def test_the_folder_that_is_given_and_not_a_set_beside_it(self, tmp_path: Path, put, monkeypatch, lr: str):
        path = put("Foo/1.png")
        put("Foo_HR/2.png")
        put(lr, 4, 5)
        monkeypatch.chdir(tmp_path / "Foo")
        for data_dir in (tmp_path / "Foo", Path("."), tmp_path / "Foo_HR" / ".." / "Foo"):
            dataset = open_dataset(data_dir, None)
            assert (dataset.name, dataset.layout, dataset.folder) == ("Foo", HR_FOLDER, tmp_path / "Foo")
            assert dataset.pairs == (ImagePair("1", None, path),)

    def test_the_set_that_is_given_and_not_one_beside_it(self, tmp_path: Path, put):
        pair = ImagePair("1", put("Foo/LR/1.png", 4, 5), put("Foo/HR/1.png"))
        put("Foo_HR/2.png")
        put("Foo_LR/2x4.png", 4, 5)
        dataset = open_dataset(tmp_path / "Foo", None)
        assert (dataset.name, dataset.layout, dataset.pairs) == ("Foo", "HR and LR", (pair,))

    @pytest.mark.parametrize(
        ("lr", "layout"), [("Foo_LR/1x4.png", "challenge"), ("Foo_LR_bicubic/X4/1x4.png", "DIV2K")]
    )
    def test_an_hr_folder_by_its_own_name_has_the_lr_beside_it(self, tmp_path: Path, put, monkeypatch, lr, layout):
        pair = ImagePair("1", put(lr, 4, 5), put("Foo_HR/1.png"))
        for data_dir, name in ((tmp_path, "Foo_HR"), (tmp_path / "Foo_HR", None), (tmp_path, "Foo")):
            dataset = open_dataset(data_dir, name)
            assert (dataset.name, dataset.layout, dataset.pairs) == ("Foo", layout, (pair,))
        monkeypatch.chdir(tmp_path / "Foo_HR")
        assert open_dataset(Path("."), None).pairs == (pair,)

    def test_an_hr_folder_alone_is_opened_as_it_is_listed(self, tmp_path: Path, put):
        path = put("photos_HR/1.png")
        for dataset in every_way(tmp_path / "photos_HR"):
            assert (dataset.name, dataset.layout) == ("photos_HR", HR_FOLDER)
            assert dataset.pairs == (ImagePair("1", None, path),)

    def test_a_linked_set_keeps_its_own_name(self, tmp_path: Path, put):
        put("disk/a/HR/1.png")
        put("disk/a/LR/1.png", 4, 5)
        put("disk/b/2.png")
        sets = tmp_path / "sets"
        sets.mkdir()
        for link, target, layout in (("Mine", "a", "HR and LR"), ("photos", "b", HR_FOLDER)):
            (sets / link).symlink_to(tmp_path / "disk" / target)
            for data_dir, name in ((sets, link), (sets / link, None)):
                dataset = open_dataset(data_dir, name)
                assert (dataset.name, dataset.layout) == (link, layout)
                assert all(pair.hr.is_relative_to(sets / link) for pair in dataset.pairs)

    def test_results_of_other_methods_beside_pairs_do_no_harm(self, tmp_path: Path, put):
        for folder in ("Set5/image_SRF_4", "mixed"):
            pair = ImagePair("a", put(f"{folder}/a_LR.png", 4, 5), put(f"{folder}/a_HR.png"))
            for other in ("a_SRCNN", "a_bicubic", "a", "overview"):
                put(f"{folder}/{other}.png")
            for data_dir, name in ((tmp_path, folder.split("/")[0]), (tmp_path / folder, None)):
                dataset = open_dataset(data_dir, name)
                assert (dataset.layout, dataset.pairs) == ("SelfExSR", (pair,))

    def test_a_set_in_a_deeper_folder_has_a_flat_name(self, tmp_path: Path, put):
        put("BSDS500/test/1.png")
        assert open_dataset(tmp_path, "BSDS500/test").name == "BSDS500_test"
        assert open_dataset(tmp_path / "BSDS500", "test").name == "test"

    def test_other_files_do_no_harm(self, tmp_path: Path, put):
        put("S/HR/a.png")
        put("S/LR/a.png", 4, 5)
        for name in ("S/readme.md", "S/HR/Thumbs.db", "S/HR/.DS_Store", "S/LR/._a.png", "S/LR/list.txt", "licence.txt"):
            (tmp_path / name).write_text("x")
        assert [pair.name for pair in open_dataset(tmp_path, None).pairs] == ["a"]

    @pytest.mark.parametrize("layout", ["pairs", "photos"])
    def test_odd_names_of_images(self, tmp_path: Path, put, layout: str):
        folder = "S/HR" if layout == "pairs" else "S"
        hrs = {name: put(f"{folder}/{name}.png") for name in ODD_NAMES}
        lrs = {name: put(f"S/LR/{name}x4.png", 4, 5) if layout == "pairs" else None for name in ODD_NAMES}
        dataset = open_dataset(tmp_path, "S")
        assert dataset.pairs == tuple(ImagePair(name, lrs[name], hrs[name]) for name in ODD_NAMES)
        assert all(pair.read()[0].shape == (4, 5, 3) for pair in dataset.pairs)

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_of_sets(self, tmp_path: Path, put, name: str):
        put(f"{name}/HR/a.png")
        put(f"{name}/LR/a.png", 4, 5)
        put(f"{name}_HR/b.png")
        put(f"{name}_LR/b.png", 4, 5)
        message = refused(UsageError, tmp_path, name)
        assert message == (
            f"--data_dir {tmp_path}: holds {name} in more than one layout: "
            f"{name} (challenge), {name} (HR and LR); keep one"
        )
        for half in ("HR", "LR"):
            (tmp_path / f"{name}_{half}/b.png").unlink()
            (tmp_path / f"{name}_{half}").rmdir()
        dataset = open_dataset(tmp_path, name)
        assert (dataset.name, dataset.layout) == (name, "HR and LR")


class TestGrey:
    def test_grey_images_are_counted(self, tmp_path: Path, put):
        put("photos/colour.png")
        for name, mode in (("grey", "L"), ("bits", "1")):
            Image.new(mode, (16, 16), 1).save(tmp_path / "photos" / f"{name}.png")
        dataset = open_dataset(tmp_path / "photos", None)
        assert dataset.num_grey == 2
        assert description(dataset)[1] == "2 of 3 are grey: measured as RGB with three equal channels"
        (tmp_path / "photos" / "grey.png").unlink()
        assert open_dataset(tmp_path / "photos", None).num_grey == 1


def test_copies_of_an_image_are_counted(tmp_path: Path, put):
    first = put("photos/a.png")
    shutil.copy(first, first.with_name("b.png"))
    first.with_name("c.png").symlink_to(first)
    Image.new("RGB", (16, 16), 9).save(first.with_name("d.png"))
    Image.new("RGB", (16, 16), 8).save(first.with_name("e.png"))
    told = "2 of 5 are copies of others: intervals and verdicts take them for different images"
    assert description(open_dataset(tmp_path / "photos", None))[1:] == [told]
    first.with_name("c.png").unlink()
    assert description(open_dataset(tmp_path / "photos", None))[1:] == [told.replace("2 of 5 are", "1 of 4 are")]
    first.with_name("b.png").unlink()
    assert description(open_dataset(tmp_path / "photos", None))[1:] == []


class TestSample:
    @pytest.mark.parametrize("name", ["sample", None])
    def test_five_photographs_of_the_wheel(self, name: str | None):
        dataset = open_dataset(None, name)
        assert (dataset.name, dataset.layout, dataset.has_hr) == ("sample", HR_FOLDER, True)
        assert [pair.hr.name for pair in dataset.pairs] == list(SAMPLE_FILES)
        assert len(SAMPLE_FILES) == 5
        sizes = []
        for pair, size in zip(dataset.pairs, dataset.lr_sizes, strict=True):
            lr, hr = pair.read()
            assert hr.shape == (4 * size.height, 4 * size.width, 3)
            assert lr.shape == (size.height, size.width, 3)
            assert hr.std() > 10
            sizes.append(str(size))
        assert sizes == ["128x128", "112x75", "150x100", "185x125", "160x106"]

    def test_it_is_there_beside_any_folder(self, tmp_path: Path):
        assert len(open_dataset(tmp_path, "sample").pairs) == 5
        assert len(open_dataset(tmp_path / "absent", "sample").pairs) == 5

    def test_a_folder_of_that_name_is_told_by_where_it_lies(self, tmp_path: Path, put):
        path = put("sample/a.png")
        (path.parent / "notes.txt").touch()
        for data_dir in (tmp_path, tmp_path / "sample"):
            assert refused(UsageError, data_dir, "sample") == (
                f"--dataset sample: means scikit-image's photographs, and {tmp_path}/sample is called so, too. For the "
                f"folder, give --data_dir {tmp_path}/sample alone; for the photographs, neither --data_dir nor ESR_DATA"
            )
        for dataset in (open_dataset(tmp_path / "sample", None), open_dataset(tmp_path, None)):
            assert (dataset.name, dataset.pairs) == ("sample", (ImagePair("a", None, path),))
            assert dataset.left_out == [path.parent / "notes.txt"]
            assert description(dataset) == ["HR: NAME; LR: made of HR by MATLAB's bicubic"]
        assert (open_dataset(None, "sample").left_out, description(open_dataset(None, "sample"))) == ([], [])

    @pytest.mark.parametrize("data_dir", ["own", "elsewhere"])
    def test_its_pictures_are_found_again_where_they_are(self, tmp_path: Path, put, data_dir: str):
        path = put("sample/a.png")
        folder = {"own": str(path.parent), "elsewhere": "C:\\Python\\Lib\\site-packages\\skimage\\data"}[data_dir]
        record = SimpleNamespace(dataset=SimpleNamespace(name="sample", layout=HR_FOLDER, folder=folder))
        names = [pair.name for pair in find_dataset(record).pairs]
        assert names == (["a"] if data_dir == "own" else [Path(file).stem for file in SAMPLE_FILES])

    def test_without_scikit_image_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(eval.data.datasets.importlib.util, "find_spec", lambda name: None)
        message = refused(RunError, None, "sample")
        assert message == ("--dataset sample: the package scikit-image is not installed; pip install scikit-image")


def test_the_folder_of_a_set_and_its_name_are_one(tmp_path: Path, put):
    put("Set5/HR/a.png")
    put("Set5/LR/a.png", 4, 5)
    for name in ("Set5", "set5"):
        assert open_dataset(tmp_path / "Set5", name).pairs == open_dataset(tmp_path, "Set5").pairs
    assert "not in" in refused(UsageError, tmp_path / "Set5", "Set14")


@pytest.mark.parametrize(
    ("path", "name", "plain"),
    [
        (PureWindowsPath, r"D:\sets\Set5", "sets_Set5"),
        (PurePosixPath, "/sets/Set5", "sets_Set5"),
        (PurePosixPath, "../BSDS500/test", "BSDS500_test"),
    ],
)
def test_a_name_holds_no_folder_and_no_drive(path: type, name: str, plain: str):
    assert eval.data.finding._plain_name(name, path) == plain


# Files and folders (with / at the end), what is asked for, and the whole error.
VALID = "DIV2K_LSDIR_valid_HR/1.png DIV2K_LSDIR_valid_LR/1x4.png "
VALID_TWICE = VALID + VALID.replace("DIV2K_LSDIR", "LSDIR_DIV2K")
THRICE = "S/HR/1.png S/LR/1.png S/LR_bicubic/X4/1x4.png"
LAYOUTS_OF_S = "--data_dir {root}: holds S in more than one layout: S (benchmark), S (HR and LR); keep one"
WRONG = [
    ("B/1.png A/HR/1.png C_HR/1.png A/LR/ C_LR/ empty/", "a?",
     "--dataset a?: not in {root}; there are: A, B, C, sample; {advice}"),
    ("photos_HR/1.png", "absent", "--dataset absent: not in {root}; there are: photos_HR, sample; {advice}"),
    (VALID, "test", "--dataset test: not in {root} (looked for the folders DIV2K_LSDIR_test_HR, LSDIR_DIV2K_test_HR); "
     "there are: DIV2K_LSDIR_valid, sample; {advice}"),
    ("B/1.png A/image_SRF_4/1_HR.png A/image_SRF_4/1_LR.png C_LR/1.png", None,
     "--data_dir {root}: holds several sets; choose by --dataset: A, B, C_LR, sample"),
    (VALID_TWICE, "valid", "--data_dir {root}: holds DIV2K_LSDIR_valid in more than one layout: "
     "DIV2K_LSDIR_valid (challenge), LSDIR_DIV2K_valid (challenge); keep one"),
    (VALID_TWICE, None, "--data_dir {root}: holds several sets; choose by --dataset: "
     "DIV2K_LSDIR_valid, LSDIR_DIV2K_valid, sample"),
    (THRICE, "S", LAYOUTS_OF_S),
    (THRICE, None, LAYOUTS_OF_S),
    (
        "notes.txt",
        None,
        "--data_dir {root}: holds no images and no set at x4 in a known layout (docs/data.md lists the layouts)",
    ),
]  # fmt: skip


class TestWrongUsage:
    @pytest.mark.parametrize(("places", "name", "message"), WRONG)
    def test_what_cannot_be_opened_says_what_there_is(self, tmp_path: Path, put, places, name, message: str):
        for place in places.split():
            (tmp_path / place).mkdir(parents=True) if place.endswith("/") else put(place)
        assert refused(UsageError, tmp_path, name) == message.format(root=tmp_path, advice=ADVICE)

    def test_a_name_without_a_folder(self):
        message = refused(UsageError, None, "Test2K")
        assert message == "--dataset Test2K: give the folder that holds it by --data_dir, or set ESR_DATA"

    def test_no_such_folder(self, tmp_path: Path, put):
        for folder, what in (
            (tmp_path / "absent", "no such folder"),
            (put("photo.png"), "a file, no folder"),
        ):
            assert refused(UsageError, folder, None) == f"--data_dir {folder}: {what}"
            assert refused(UsageError, folder, "S") == f"--data_dir {folder}: {what}"

    def test_a_folder_that_a_variable_names_is_not_called_a_flag_alone(self, tmp_path: Path, monkeypatch):
        # Shells complete the name of a folder with a slash.
        for end in ("", "/"):
            monkeypatch.setenv("ESR_DATA", f"{tmp_path}/gone{end}")
            message = refused(UsageError, tmp_path / "gone", "Set5")
            assert message == f"--data_dir, from the variable ESR_DATA, {tmp_path / 'gone'}: no such folder"

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems write no such names")
    def test_names_that_are_no_text_are_faults(self, tmp_path: Path, put):
        """As unpacking an old zip makes them; a record is JSON in UTF-8."""
        os.rename(put("photos/a.png"), os.fsencode(tmp_path / "photos") + b"/f\xfcr.png")
        message = refused(RunError, tmp_path / "photos", None)
        assert "photos/f\\udcfcr.png': expected a path in UTF-8; rename it" in message

    @pytest.mark.parametrize("name", ["", ".", "..", "./", "../..", "/"])
    def test_what_names_no_set(self, tmp_path: Path, put, name: str):
        folder = put("S/1.png").parent
        for data_dir in (folder, tmp_path):
            message = refused(UsageError, data_dir, name)
            assert message == f"--dataset '{name}': expected the name of a set in {data_dir}"


@pytest.fixture
def pairs(put) -> Path:
    """A sound set of two pairs, for one fault to be made in it."""
    for stem in ("fine", "good"):
        put(f"S/HR/{stem}.png")
        put(f"S/LR/{stem}x4.png", 4, 5)
    return put("S/HR/fine.png").parent.parent


class TestFaultsAlone:
    @pytest.mark.parametrize("folder", ["S", "S_LR"])
    def test_names_that_differ_in_suffix_only(self, tmp_path: Path, put, folder: str):
        paths = [put(f"{folder}/fine.{suffix}") for suffix in ("PNG", "bmp", "png")]
        listed = " and ".join(map(str, paths))
        assert faults(tmp_path, folder) == [f"{listed}: have the same name"]

    @pytest.mark.parametrize("folder", ["S", "S_LR"])
    def test_empty_folder(self, tmp_path: Path, folder: str):
        (tmp_path / folder).mkdir()
        layout = LR_FOLDER if folder == "S_LR" else HR_FOLDER
        assert faults(tmp_path, folder) == [f"{tmp_path / folder}: no images ({layout})"]

    def test_missing_lr_folder(self, tmp_path: Path, put):
        put("S_HR/a.png")
        assert faults(tmp_path, "S") == [
            f"{tmp_path}/S_LR: no such folder; the LR images of the layout 'challenge' belong there; "
            f"to have LR made by the exact bicubic, name the HR folder itself: {tmp_path}/S_HR"
        ]

    @pytest.mark.parametrize(("hr", "lr", "layout"), [("S_HR", "S_LR", "challenge"), ("S/HR", "S/LR", "HR and LR")])
    @pytest.mark.parametrize("name", ["S", None])
    def test_empty_hr_folder(self, tmp_path: Path, put, hr: str, lr: str, layout: str, name: str | None):
        (tmp_path / hr).mkdir(parents=True)
        stray = put(f"{lr}/1x4.png", 4, 5)
        assert faults(tmp_path, name, called="S") == [
            f"{tmp_path / hr}: no HR images (layout '{layout}')",
            f"{stray}: has no HR partner in {tmp_path / hr}",
        ]

    def test_hr_images_that_differ_in_suffix_only(self, tmp_path: Path, pairs: Path, put):
        other = put("S/HR/fine.bmp")
        assert faults(tmp_path, "S") == [f"{other} and {pairs}/HR/fine.png: have the same name"]

    def test_an_empty_lr_folder_beside_a_named_hr_folder(self, tmp_path: Path, put):
        hr = put("S_HR/a.png")
        (tmp_path / "S_LR").mkdir()
        assert faults(tmp_path, "S_HR", called="S") == [
            f"{hr}: expected one LR partner, ax4 or a in {tmp_path}/S_LR; found none"
        ]


class TestFaultsTogether:
    def test_of_pairs(self, tmp_path: Path, pairs: Path, put):
        for stem in ("case", "CASE", "double", "flipped", "kind", "link", "lrlink", "sized", "tiny", "truncated"):
            put(f"S/HR/{stem}.png")
            put(f"S/LR/{stem}x4.png", 4, 5)
        put("S/HR/alone.png")
        put("S/LR/double.png", 4, 5)
        put("S/LR/stray.png", 4, 5)
        put("S/LR/sizedx4.png", 8, 10)
        put("S/HR/tiny.png", 8, 20)
        put("S/LR/tinyx4.png", 2, 5)
        (pairs / "HR/kind.png").rename(pairs / "HR/kind.tga")
        for link in (pairs / "HR/link.png", pairs / "LR/lrlinkx4.png"):
            link.unlink()
            link.symlink_to("nowhere")
        whole = (pairs / "HR/truncated.png").read_bytes()
        (pairs / "HR/truncated.png").write_bytes(whole[:200])
        (pairs / "LR/truncatedx4.png").write_bytes(b"")
        (pairs / "LR/flippedx4.png").write_bytes(whole[:60] + b"\0\0\0\0" + whole[64:])
        assert offenders(faults(tmp_path, "S")) == [
            f"{pairs}/HR/alone.png",
            f"{pairs}/HR/double.png",
            f"{pairs}/LR/stray.png",
            f"{pairs}/HR/CASE.png and {pairs}/HR/case.png",
            f"{pairs}/LR/flippedx4.png",
            f"{pairs}/HR/kind.tga",
            f"{pairs}/HR/link.png",
            f"{pairs}/LR/lrlinkx4.png",
            f"{pairs}/LR/sizedx4.png",
            f"{pairs}/HR/tiny.png",
            f"{pairs}/HR/truncated.png",
            f"{pairs}/LR/truncatedx4.png",
        ]

    def test_of_a_folder_of_photographs(self, tmp_path: Path, put):
        folder = put("photos/fine.png").parent
        put("photos/tiny.png", 4, 4)
        for name in ("same.png", "same.bmp", "Same.jpg"):
            put(f"photos/{name}")
        (folder / "broken.png").symlink_to("nowhere")
        (folder / "cut.png").write_bytes((folder / "fine.png").read_bytes()[:99])
        (folder / "text.jpg").write_text("hello")
        (folder / "deep.exr").write_bytes(b"v/1\1")
        assert offenders(faults(tmp_path, "photos")) == [
            f"{folder}/Same.jpg and {folder}/same.bmp and {folder}/same.png",
            f"{folder}/broken.png",
            f"{folder}/cut.png",
            f"{folder}/deep.exr",
            f"{folder}/text.jpg",
            f"{folder}/tiny.png",
        ]

    def test_a_hundred_are_all_listed(self, tmp_path: Path):
        folder = tmp_path / "photos"
        folder.mkdir()
        paths = [folder / f"{number:03}.png" for number in range(100)]
        for path in paths:
            path.write_bytes(b"no image")
        assert offenders(faults(tmp_path, "photos")) == list(map(str, paths))


class TestPublished:
    @pytest.mark.parametrize(("name", "count"), [("Set5", 5), ("Set14", 14)])
    def test_sets_open_and_their_lr_is_the_exact_bicubic(self, esr_data: Path, name: str, count: int):
        dataset = open_dataset(esr_data, name)
        assert (dataset.name, dataset.layout, len(dataset.pairs)) == (name, "SelfExSR", count)
        for pair in dataset.pairs[:3]:
            lr, hr = pair.read()
            assert hr.shape == (4 * lr.shape[0], 4 * lr.shape[1], 3)
            np.testing.assert_array_equal(read_image(pair.lr), lr)
