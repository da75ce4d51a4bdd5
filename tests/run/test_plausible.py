"""A PSNR that gives away that the HR image was seen, and those that are just good."""

import math
from pathlib import Path

import numpy as np
import pytest

from eval.data.datasets import open_dataset
from eval.data.images import write_png
from eval.data.resize import imresize
from eval.metrics.psnr_ssim import psnr
from eval.records.record import ImageResult
from eval.run.plausible import implausible


@pytest.fixture
def pairs(tmp_path: Path, random_image):
    for index in range(3):
        write_png(tmp_path / "set" / f"{index}.png", random_image(64, 48, index))
    return open_dataset(tmp_path / "set", None).pairs


def results(pairs, psnr_db: list[float | None]) -> list[ImageResult]:
    sizes = {"lr_height": 16, "lr_width": 12, "runtime_ms": None}
    return [ImageResult(name=pair.name, psnr_db=its, **sizes) for pair, its in zip(pairs, psnr_db, strict=False)]


def bicubic_db(pair) -> float:
    lr, hr = pair.read()
    return psnr(imresize(lr, 4), hr)


def test_the_hr_image_itself_is_flagged(pairs):
    (flag,) = implausible(pairs, results(pairs, [20.0, math.inf, math.inf]))
    assert (flag.code, flag.of_network) == ("psnr", False)
    assert flag.text == "returns the HR image itself: 2 of 3 images, 1 the first"


@pytest.mark.parametrize(("gain_db", "flagged"), [(6.5, False), (9.5, True)])
def test_a_gain_over_bicubic_that_no_network_makes_is_flagged(pairs, gain_db: float, flagged: bool):
    flags = implausible(pairs, results(pairs, [bicubic_db(pair) + gain_db for pair in pairs]))
    assert [flag.text for flag in flags] == (
        ["is 9.5 dB better than bicubic enlargement; 9 dB are more than networks gain"] if flagged else []
    )


def test_one_good_image_is_no_cheat_and_nor_is_half_a_run(pairs):
    one_good = [bicubic_db(pairs[0]) + 12, *(bicubic_db(pair) for pair in pairs[1:])]
    assert [*implausible(pairs, results(pairs, one_good))] == []
    assert [*implausible(pairs, results(pairs[1:], one_good[1:2]))] == []
    assert [*implausible(pairs, results(pairs, [None, None, None]))] == []


def test_where_enlarging_is_enough_nothing_is_told(tmp_path: Path):
    write_png(tmp_path / "set" / "0.png", np.full((64, 64, 3), 90, np.uint8))
    pairs = open_dataset(tmp_path / "set", None).pairs
    assert [*implausible(pairs, results(pairs, [math.inf]))] == []
    inputs = [type(pair)(pair.name, lr=pair.hr, hr=None) for pair in pairs]
    assert [*implausible(inputs, results(inputs, [None]))] == []
