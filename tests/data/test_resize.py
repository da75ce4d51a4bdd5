"""The exact bicubic: hand arithmetic, and every published LR image."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from eval.data.resize import bicubic_kernel, contributions, imresize


def test_enlarging_by_two_takes_four_pixels_with_known_weights():
    weights, indices = contributions(6, 12, Fraction(2))
    # Output 5 lies at 2.25: distances 1.25, 0.25, 0.75, 1.75 to pixels 1 to 4.
    taken = {int(i): float(w) for i, w in zip(indices[5], weights[5], strict=True) if w}
    assert taken == {1: -0.0703125, 2: 0.8671875, 3: 0.2265625, 4: -0.0234375}


def test_shrinking_by_four_has_exact_symmetric_weights_that_sum_to_one():
    weights, indices = contributions(64, 16, Fraction(1, 4))
    assert (weights.sum(axis=1) == 1).all()
    middle = weights[8]
    assert (middle == middle[::-1]).all()
    assert (weights * 4096 == np.round(weights * 4096)).all()
    assert indices[8][weights[8] != 0].tolist() == list(range(26, 42))


def test_borders_repeat_the_edge_pixel():
    _, indices = contributions(16, 4, Fraction(1, 4))
    assert indices.min() == 0
    assert indices.max() == 15
    assert (indices[0][:6] == 0).all()


def test_constant_images_stay_constant():
    for value in (0, 1, 127, 255):
        image = np.full((13, 10, 3), value, np.uint8)
        for scale in (Fraction(1, 4), Fraction(1, 3), Fraction(4), Fraction(3, 2)):
            assert (imresize(image, scale) == value).all()


def test_a_ramp_is_enlarged_to_a_ramp():
    ramp = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))
    enlarged = imresize(ramp, 4).astype(int)
    expected = np.floor(8 * ((np.arange(120) + 0.5) / 4 - 0.5) + 0.5).astype(int)
    assert (enlarged[:, 8:-8] == expected[8:-8]).all()


def test_rows_are_rounded_before_columns():
    image = np.random.default_rng(3).integers(0, 256, (32, 32), dtype=np.uint8)
    weights, indices = contributions(32, 8, Fraction(1, 4))
    matrix = np.zeros((8, 32))
    np.add.at(matrix, (np.arange(8)[:, None], indices), weights)
    rows = np.clip(np.floor(matrix @ image + 0.5), 0, 255)
    expected = np.clip(np.floor(rows @ matrix.T + 0.5), 0, 255).astype(np.uint8)
    assert (imresize(image, Fraction(1, 4)) == expected).all()
    at_once = np.clip(np.floor(matrix @ image @ matrix.T + 0.5), 0, 255)
    assert (at_once != expected).any()


def test_sizes_are_rounded_up():
    assert imresize(np.zeros((9, 10, 3), np.uint8), Fraction(1, 4)).shape == (3, 3, 3)
    assert imresize(np.zeros((5, 7), np.uint8), 4).shape == (20, 28)


def test_channels_do_not_mix():
    image = np.random.default_rng(4).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    together = imresize(image, Fraction(1, 4))
    for channel in range(3):
        assert (together[..., channel] == imresize(image[..., channel], Fraction(1, 4))).all()


@pytest.mark.parametrize(
    ("image", "scale", "error", "message"),
    [
        (np.zeros((8, 8), np.float32), 0.25, TypeError, "expected uint8, got float32"),
        (np.zeros(8, np.uint8), 0.25, ValueError, r"got \(8,\)"),
        (np.zeros((0, 8), np.uint8), 0.25, ValueError, r"got \(0, 8\)"),
        (np.zeros((8, 8), np.uint8), 0, ValueError, "above 0, got 0"),
    ],
)
def test_refuses_what_it_cannot_resize(image: np.ndarray, scale: float, error: type, message: str):
    with pytest.raises(error, match=message):
        imresize(image, scale)


@pytest.mark.parametrize(
    ("name", "count", "every"),
    [("Set5", 5, 1), ("Set14", 14, 1), ("Urban100", 100, 10), pytest.param("Urban100", 100, 1, marks=pytest.mark.slow)],
)
def test_reproduces_every_published_lr_image(esr_data, name: str, count: int, every: int):
    paths = sorted((esr_data / name / "image_SRF_4").glob("*_HR.png"))
    assert len(paths) == count
    differing = 0
    for path in paths[::every]:
        hr = np.asarray(Image.open(path).convert("RGB"))
        lr = np.asarray(Image.open(path.with_name(path.name.replace("_HR", "_LR"))).convert("RGB"))
        differing += int((imresize(hr, Fraction(1, 4)) != lr).sum())
    assert differing == 0


def test_the_kernel_by_hand():
    # Keys: 1.5|x|^3 - 2.5|x|^2 + 1 up to 1, -0.5|x|^3 + 2.5|x|^2 - 4|x| + 2 up to 2.
    at = np.array([0, 0.5, 1, -1.5, 1.96875, 2, 2.5])
    expected = [1, 0.5625, 0, -0.0625, -0.5 * 1.96875**3 + 2.5 * 1.96875**2 - 4 * 1.96875 + 2, 0, 0]
    assert bicubic_kernel(at).tolist() == expected


@pytest.mark.parametrize("scale", [Fraction(3, 10), Fraction(7, 11), Fraction(1, 4), Fraction(5, 2)])
def test_weights_sum_to_one_at_any_scale(scale: Fraction):
    weights, indices = contributions(40, int(40 * scale), scale)
    assert weights.sum(axis=1) == pytest.approx(1, abs=1e-15)
    assert (indices.min(), indices.max()) == (0, 39)


def test_halves_are_rounded_up():
    image = np.zeros((16, 3), np.uint8)
    image[9:] = 1
    # Row 4 lies between rows 8 and 9, and takes half of its weights, all dyadic, from either side.
    assert imresize(image, Fraction(1, 2))[4].tolist() == [1, 1]
