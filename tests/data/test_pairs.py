"""Pairs of LR and HR: what is read, and what is wrong with their files."""

import unicodedata
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.data.images import ImageSize, write_png
from eval.data.pairs import MIN_HR_SIDE, ImagePair, check_pairs
from eval.data.resize import imresize


@pytest.fixture
def image(tmp_path: Path, random_image):
    """Write noise of a given size and return its path."""

    def write(name: str, height: int, width: int) -> Path:
        write_png(tmp_path / name, random_image(height, width, seed=len(name)))
        return tmp_path / name

    return write


def test_hr_is_cut_at_right_and_bottom_and_lr_made_of_what_is_left(image, random_image):
    lr, hr = ImagePair("a", lr=None, hr=image("a.png", 31, 22)).read()
    whole = random_image(31, 22, seed=len("a.png"))
    np.testing.assert_array_equal(hr, whole[:28, :20])
    np.testing.assert_array_equal(lr, imresize(whole[:28, :20], Fraction(1, 4)))
    assert lr.shape == (7, 5, 3)


def test_lr_is_read_where_there_is_a_file(image, random_image):
    lr, hr = ImagePair("a", lr=image("lr.png", 4, 5), hr=image("a.png", 16, 20)).read()
    np.testing.assert_array_equal(lr, random_image(4, 5, seed=len("lr.png")))
    np.testing.assert_array_equal(hr, random_image(16, 20, seed=len("a.png")))


def test_lr_without_hr(image, random_image):
    lr, hr = ImagePair("a", lr=image("lr.png", 3, 2), hr=None).read()
    np.testing.assert_array_equal(lr, random_image(3, 2, seed=len("lr.png")))
    assert hr is None


def test_sizes_come_in_order_whatever_the_number_of_images(image):
    heights = list(range(12, 80, 4))
    pairs = [ImagePair(str(height), lr=None, hr=image(f"{height}.png", height + 3, 12)) for height in heights]
    assert check_pairs(iter(pairs)) == ([ImageSize(height // 4, 3) for height in heights], [])


@pytest.mark.parametrize(("height", "width"), [(MIN_HR_SIDE - 1, 40), (40, MIN_HR_SIDE - 1), (1, 1)])
def test_hr_too_small_to_be_measured(image, height: int, width: int):
    path = image("small.png", height, width)
    _, faults = check_pairs([ImagePair("small", lr=None, hr=path)])
    assert faults == [f"{path}: {width}x{height} pixels; both sides must be at least 12 to be measured"]


def test_the_smallest_hr_and_any_lr_pass(image):
    pairs = [ImagePair("a", None, image("a.png", 12, 12)), ImagePair("b", image("b.png", 1, 1), None)]
    assert check_pairs(pairs) == ([ImageSize(3, 3), ImageSize(1, 1)], [])


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 4), (6, 5), (16, 20), (5, 5)])
def test_lr_of_the_wrong_size(image, height: int, width: int):
    hr, lr = image("hr.png", 18, 23), image("lr.png", height, width)
    _, faults = check_pairs([ImagePair("a", lr, hr)])
    assert faults == [f"{lr}: {width}x{height} pixels; expected 5x4, a quarter of {hr} (23x18)"]


def test_same_names_are_told_once_with_all_files(image):
    paths = [image(f"{folder}/{name}", 12, 12) for folder, name in (("1", "A.png"), ("2", "a.bmp.png"), ("3", "b.png"))]
    pairs = [ImagePair(name, None, path) for name, path in zip(("Straße", "STRASSE", "b"), paths, strict=True)]
    assert check_pairs(pairs)[1] == [f"{paths[0]} and {paths[1]}: have the same name"]


def test_the_two_normal_forms_of_a_name_are_the_same(image):
    paths = [image(f"{folder}/a.png", 12, 12) for folder in ("1", "2", "3")]
    names = [unicodedata.normalize("NFC", "Žofín"), unicodedata.normalize("NFD", "žofín"), "Zofin"]
    pairs = [ImagePair(name, None, path) for name, path in zip(names, paths, strict=True)]
    assert check_pairs(pairs)[1] == [f"{paths[0]} and {paths[1]}: have the same name"]


def test_sizes_are_of_upright_images(tmp_path: Path, random_image):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_image(16, 24)).save(tmp_path / "hr.tif", exif=exif)
    Image.fromarray(random_image(4, 6)).save(tmp_path / "lr.tif", exif=exif)
    pair = ImagePair("a", tmp_path / "lr.tif", tmp_path / "hr.tif")
    assert check_pairs([pair]) == ([ImageSize(6, 4)], [])
    lr, hr = pair.read()
    assert (lr.shape, hr.shape) == ((6, 4, 3), (24, 16, 3))
