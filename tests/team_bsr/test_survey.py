"""What a training command says of its folders: LR halves, small and unusable images, pictures that are validated on."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.data.images import write_png
from eval.data.likeness import MOST_APART, shared_images, thumbnail, thumbnails
from eval.errors import RunError, UsageError
from team_bsr.sources import Sources
from team_bsr.survey import steps_left_out, survey
from team_bsr.validation import open_set
from tests.team_bsr.test_training import small_step


def picture(number: int, side: int = 64) -> np.ndarray:
    """Return a smooth picture, the same at every size."""
    grid = (np.arange(side) + 0.5) / side * 3
    waves = [np.sin(np.add.outer(grid * (number + 1), grid * colour)) for colour in (1, 2, 3)]
    return np.uint8(np.stack(waves, -1) * 100 + 128)


def write(root: Path, *names: str, side: int = 64, number: int = 0) -> None:
    for name in names:
        write_png(root / name, picture(number, side))


def used(root: Path, *more: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in survey(Sources((root, *more))).images]


@pytest.mark.parametrize(
    ("hr", "lr"),
    [
        ("DIV2K_train_HR/0001.png", "DIV2K_train_LR_bicubic/X4/0001x4.png"),
        ("DIV2K_train_HR/0001.png", "DIV2K_train_LR_unknown/X2/0001x2.png"),
        ("image_SRF_4/img_001_SRF_4_HR.png", "image_SRF_4/img_001_SRF_4_LR.png"),
        ("HR/Set5/x4/baby_HR_x4.png", "LR/LRBI/Set5/x4/baby_LRBI_x4.png"),
        ("HR/Set5/x4/baby.png", "LRBI/Set5/x4/baby.png"),
        ("GTmod12/baby.png", "LRbicx4/baby.png"),
        ("gt/baby.png", "lq/baby.png"),
        ("HR/baby.png", "x4/baby.png"),
        ("HR/baby.png", "HR/LR/baby.png"),
        ("0001_hr.png", "0001_lr.png"),
        ("a/babyHR.png", "b/babyLRBI_x4.png"),
        ("baby.png", "X4/other.png"),
        ("trainHR/baby.png", "trainLR/other.png"),
        ("photos/high_res/a.png", "photos/low_res/b.png"),
        ("set/HR/images/a.png", "set/LR/images/b.png"),
        ("set/gt/a.png", "set/4x/b.png"),
        ("photos/a.png", "small/bx4.png"),
    ],
)
def test_lr_halves_are_known_by_their_names(tmp_path, hr, lr):
    write(tmp_path / "data", hr)
    write(tmp_path / "data", lr, side=60)
    assert used(tmp_path / "data") == [hr]
    assert f"; left out: 1 LR images by their names ({Path(lr).name})" in str(survey(Sources((tmp_path / "data",))))


def test_a_folder_s_own_name_counts_least(tmp_path):
    write(tmp_path, "HR/x4/a.png", "HR/LR/ax4.png")
    assert used(tmp_path / "HR") == ["x4/a.png"]


@pytest.mark.parametrize("name", ["LR", "x4", "low_res", "LR/images", "DIV2K_train_LR_bicubic/X4", "sharp_bicubic/X4"])
def test_a_folder_that_evaluation_takes_for_lr_or_asks_about_is_refused_by_its_own_name(tmp_path, name):
    """A scale alone does not tell; LR that is trained on does silent harm, and a folder is soon renamed."""
    write(tmp_path / "data", f"{name}/a.png")
    message = (
        f"--data {tmp_path / 'data' / name}: expected a folder with HR images, found none: the 1 there are LR images "
        "by their names; if they are HR images, rename the folder or the files so that their names say HR"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        survey(Sources((tmp_path / "data" / name,)))


@pytest.mark.parametrize("name", ["HR/x4", "HR_x4", "x4_photos", "LR/../photos"])
def test_a_folder_whose_name_says_hr_or_nothing_is_trained_on(tmp_path, name):
    (tmp_path / "data" / "LR").mkdir(parents=True)
    write(tmp_path / "data", f"{name}/a.png")
    assert used(tmp_path / "data" / name) == ["a.png"]


@pytest.mark.parametrize("name", ["COLOR/a.png", "allright/a.png", "SRF/a.png", "Flickr2K/a.png", "clr/a.png"])
def test_other_names_are_hr(tmp_path, name):
    write(tmp_path, name)
    assert used(tmp_path) == [name]


def test_what_lies_beside_pairs_is_left_out(tmp_path):
    write(tmp_path, "a_HR.png", "a_LR.png", "a_SRCNN.png")
    assert used(tmp_path) == ["a_HR.png"]
    assert str(survey(Sources((tmp_path,)))) == (
        f"1 of 3 in {tmp_path}; left out: 1 LR images by their names (a_LR.png), "
        "1 neither _HR nor _LR beside such pairs (a_SRCNN.png)"
    )


def test_smaller_copies_are_known_by_their_pictures(tmp_path):
    """By name, a quarter of the size, and the same picture; any two of the three are not enough."""
    write(tmp_path, "large/a.png", "large/b.png", "large/c.png")
    write(tmp_path, "small/ax4.png", side=16)
    write(tmp_path, "small/bx4.png", side=20)
    write(tmp_path, "small/c.png", side=16, number=5)
    write(tmp_path, "small/d.png", side=16)
    large, small = ("large/a.png", "large/b.png", "large/c.png"), ("small/bx4.png", "small/c.png", "small/d.png")
    assert used(tmp_path) == [*large, *small]
    found = survey(Sources((tmp_path,)))
    assert str(found) == f"6 of 7 in {tmp_path}; left out: 1 smaller copies of other images (ax4.png)"


def test_a_folder_of_lr_images_is_refused_whole(tmp_path):
    write(tmp_path, "DIV2K_train_LR_bicubic/X4/0001x4.png")
    for folder in (tmp_path / "DIV2K_train_LR_bicubic", tmp_path / "DIV2K_train_LR_bicubic" / "X4"):
        with pytest.raises(FileNotFoundError, match="found none: the 1 there are LR images by their names"):
            survey(Sources((folder,)))


def test_a_file_is_used_once(tmp_path):
    write(tmp_path, "a.png", "sub/b.png")
    found = survey(Sources((tmp_path, tmp_path / "sub")))
    assert [path.name for path in found.images] == ["a.png", "b.png"]
    assert str(found).endswith("; left out: 1 found twice (b.png)")


def test_pairs_by_mark_in_one_folder(tmp_path):
    write(tmp_path, "a_HR.png")
    write(tmp_path, "a_LR.png", side=16)
    found = survey(Sources((tmp_path,), (tmp_path,)))
    assert found.partners == {tmp_path / "a_HR.png": tmp_path / "a_LR.png"}
    assert str(found) == f"1 of 1 in {tmp_path}"


def test_faults_are_read_from_heads_and_all_are_named(tmp_path):
    Image.fromarray(np.full((80, 80), 4000, np.uint16)).save(tmp_path / "deep.png")
    write(tmp_path, "tiny.png", side=3)
    write(tmp_path, "good.png")
    expected = r"deep\.png: has 16 bits or more.*; .*tiny\.png: expected at least 4 pixels a side, got 3x3; .*--skip_"
    with pytest.raises(RunError, match=expected):
        survey(Sources((tmp_path,)))
    found = survey(Sources((tmp_path,), skip_bad=True))
    assert [path.name for path in found.images] == ["good.png"]
    assert [fault.split(": ")[0] for fault in found.faults] == [str(tmp_path / "deep.png"), str(tmp_path / "tiny.png")]
    assert str(found) == f"1 of 3 in {tmp_path}; left out: 2 that cannot be used"


@pytest.mark.parametrize(("side", "fits"), [(15, False), (16, True), (17, True), (18, False)])
def test_an_lr_image_is_a_quarter_rounded_down_or_up(tmp_path, side, fits):
    write(tmp_path, "hr/a.png", side=66)
    write(tmp_path, "lr/a.png", side=side)
    sources = Sources((tmp_path / "hr",), (tmp_path / "lr",))
    if fits:
        assert len(survey(sources).partners) == 1
    else:
        with pytest.raises(RunError, match=rf"lr/a\.png: expected 16x16 for .*hr/a\.png, got {side}x{side}"):
            survey(sources)


def test_of_lr_images_of_one_name_the_one_in_the_same_subfolder_counts(tmp_path):
    write(tmp_path, "hr/x/1.png", "hr/y/1.png", "hr/2.png")
    write(tmp_path, "lr/x/1x4.png", "lr/y/1x4.png", "lr/y/2x4.png", side=16)
    # A folder that is named twice, or lies in another one, makes no second file.
    found = survey(Sources((tmp_path / "hr",), (tmp_path / "lr", tmp_path / "lr" / "y"))).partners
    assert found == {
        tmp_path / hr: tmp_path / lr
        for hr, lr in (("hr/2.png", "lr/y/2x4.png"), ("hr/x/1.png", "lr/x/1x4.png"), ("hr/y/1.png", "lr/y/1x4.png"))
    }


@pytest.mark.parametrize(
    ("first", "second"), [("bicubic/1x4.png", "unknown/1x4.png"), ("1x4.bmp", "1x4.png"), ("a/1.png", "b/1.png")]
)
def test_several_lr_images_for_one_hr_image_are_refused(tmp_path, first, second):
    """Which of them is found last is the file system's matter."""
    write(tmp_path, "hr/1.png")
    write(tmp_path, f"lr/{first}", f"lr/{second}", side=16)
    hr, one, other = (tmp_path / name for name in ("hr/1.png", f"lr/{first}", f"lr/{second}"))
    with pytest.raises(UsageError, match=re.escape(f"expected one LR image for {hr}, got {one} and {other}; remove")):
        survey(Sources((tmp_path / "hr",), (tmp_path / "lr",)))


def test_an_hr_image_is_not_one_of_several_lr_images_of_its_name(tmp_path):
    write(tmp_path, "HR/1.png")
    write(tmp_path, "LR/1.png", side=16)
    assert survey(Sources((tmp_path,), (tmp_path,))).partners == {tmp_path / "HR" / "1.png": tmp_path / "LR" / "1.png"}


def test_sizes_follow_exif_orientation_and_steps_leave_out_what_is_smaller(tmp_path):
    turned = Image.fromarray(np.zeros((60, 100, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    write(tmp_path, "a.png", side=48)
    found = survey(Sources((tmp_path,)))
    assert [str(size) for size in found.images.values()] == ["48x48", "60x100"]
    (line,) = steps_left_out((small_step(hr_patch=48), small_step(2, hr_patch=52)), found)
    assert line == (
        f"step 2   leaves out 1 of 2 images, which are smaller than its patches of 52 pixels: {tmp_path / 'a.png'}"
    )
    with pytest.raises(RunError, match=r"step 3: expected images of at least 64 pixels a side.*; all 2 are smaller: "):
        list(steps_left_out((small_step(3, hr_patch=64),), found))


def test_thumbnails_are_means_of_grey_levels():
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:2, :3] = (10, 20, 60)
    pixels[0, 3] = (255, 255, 255)
    expected = np.zeros((16, 16), np.uint8)
    # A cell has 2x3 pixels: (10 + 20 + 60) / 3 everywhere, and 255 in one of six.
    expected[0, :2] = 30, round(255 / 6)
    assert np.array_equal(thumbnail(pixels), expected)


def test_a_copy_is_known_recompressed_resized_or_cut_and_another_picture_is_not(tmp_path):
    source = Image.fromarray(picture(0, 203))
    source.save(tmp_path / "bad.jpg", quality=20)
    source.resize((60, 60), Image.BICUBIC).save(tmp_path / "small.png")
    source.crop((0, 0, 198, 198)).save(tmp_path / "cut.png")
    write(tmp_path, "other.png", side=203, number=1)
    apart = {
        Path(name).name: np.sqrt(((np.float32(found) - thumbnail(np.array(source))) ** 2).mean())
        for name, found in thumbnails(sorted(tmp_path.iterdir())).items()
    }
    assert {name for name, value in apart.items() if value <= MOST_APART} == {"bad.jpg", "small.png", "cut.png"}


def test_a_damaged_file_has_no_thumbnail_and_is_like_none(tmp_path):
    write(tmp_path, "a.png", "ax4.png")
    write(tmp_path, "small/a.png", side=16)
    whole = (tmp_path / "small" / "a.png").read_bytes()
    (tmp_path / "small" / "a.png").write_bytes(whole[:-40])
    assert thumbnails([tmp_path / "small" / "a.png"]) == {}
    assert "small/a.png" in used(tmp_path)


def test_validation_images_among_the_training_images_are_named(tmp_path):
    write(tmp_path, "valid/a.png", side=80)
    write(tmp_path, "valid/b.png", side=80, number=2)
    encoded = BytesIO()
    Image.fromarray(picture(0, 80)).save(encoded, "JPEG", quality=40)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "copy.jpg").write_bytes(encoded.getvalue())
    write(tmp_path, "train/c.png", number=3)
    files = list(survey(Sources((tmp_path / "train",))).images)
    assert shared_images([open_set(tmp_path / "valid")], thumbnails(files)) == [
        "warning: 1 of 2 validation images of valid are trained on, so its PSNR says little: "
        f"a ({tmp_path / 'train' / 'copy.jpg'})"
    ]
    assert shared_images([open_set(tmp_path / "valid")], thumbnails(files[:1])) == []
