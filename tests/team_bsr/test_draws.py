"""Where patches are drawn: weights by hand, frequencies, and the same places in every process."""

import numpy as np
import pytest

from team_bsr.draws import DetailDraw, UniformDraw, patch_weights


def grid_of(block: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return an image of one 4x4 grey block repeated."""
    return np.tile(np.uint8(block), (rows, columns))[..., None].repeat(3, 2)


def test_a_flat_patch_has_a_hundredth():
    assert patch_weights(np.full((64, 80, 3), 77, np.uint8), 10) == pytest.approx(np.full((2, 3), 0.01), abs=1e-12)


def test_detail_is_what_averaging_a_block_loses():
    """Blocks of columns 6 above and 6 below their mean lose an RMS of 6, of 24 a quarter; LR has no gradient."""
    block = [[106, 94, 106, 94]] * 4
    assert patch_weights(grid_of(block, 12, 12), 8) == pytest.approx(np.full((2, 2), 0.01 + 6 / 24), abs=1e-9)


def test_detail_has_an_upper_limit():
    block = [[200, 50, 200, 50]] * 4
    assert patch_weights(grid_of(block, 12, 12), 8) == pytest.approx(np.full((2, 2), 1.01), abs=1e-9)


@pytest.mark.parametrize("quarter_turns", range(4))
def test_gradients_along_one_direction_treble_it(quarter_turns):
    """A ramp of one level a pixel: each block has variance 1.25 around its mean, and LR a gradient of 4 everywhere."""
    ramp = np.uint8(np.tile(np.arange(64), (64, 1)))[..., None].repeat(3, 2)
    weights = patch_weights(np.rot90(ramp, quarter_turns), 12)
    assert weights == pytest.approx(np.full((2, 2), 0.01 + 1.25**0.5 / 24 * 3), abs=1e-9)


def test_gradients_at_a_right_angle_are_straight_and_those_at_45_degrees_cancel():
    """Two halves of the patch: ramps at 0 and 90 degrees agree in the fourfold angle, 0 and 45 are opposite in it."""
    y, x = np.mgrid[:64, :128]
    right = np.concatenate((x[:, :64], y[:, 64:] * np.ones_like(x[:, 64:])), 1)
    # The same gradient's energy at 45 degrees: (x + y) / sqrt(2), in whole levels on average.
    slanted = np.concatenate((x[:, :64], np.rint((x + y)[:, 64:] / np.sqrt(2))), 1)
    straight, mixed = (patch_weights(np.uint8(image)[..., None].repeat(3, 2), 16)[0] for image in (right, slanted))
    middle = len(straight) // 2
    detail = 1.25**0.5 / 24
    assert straight[middle] > 0.01 + 2.4 * detail
    # Not all of it, for the seam has a gradient too.
    assert mixed[middle] < 0.01 + 1.8 * detail


def test_each_weight_is_of_the_patch_at_its_place():
    image = np.full((80, 96, 3), 50, np.uint8)
    image[40:44, 48:52] = np.uint8([[106, 94, 106, 94]] * 4)[..., None]
    detailed = patch_weights(image, 5) > 0.011
    # The block is LR pixel (10, 12), and its own mean and its neighbours' make gradients only. Patches of 5 at each
    # fourth place hold it where they begin at 8 (rows 8 to 12) and at 8 or 12 (columns 8 to 12, 12 to 16).
    expected = np.zeros((4, 5), bool)
    expected[2, [2, 3]] = True
    assert np.array_equal(detailed, expected)


@pytest.fixture
def images():
    """A flat image, one with two blocks of detail at known places, and a smaller flat one."""
    detailed = np.full((80, 96, 3), 50, np.uint8)
    block = np.uint8([[200, 20, 200, 20]] * 4)[..., None]
    detailed[40:44, 48:52] = block
    flat = np.full((80, 96, 3), 50, np.uint8)
    return [(image, image[::4, ::4]) for image in (flat, detailed, flat[:72, :88])]


def test_cells_are_drawn_by_their_weights(images):
    draw = DetailDraw(images, [0, 1], 5)
    places = draw(np.random.default_rng(0), 20_000)
    assert set(places.image.tolist()) == {0, 1}
    weights = np.concatenate([patch_weights(images[item][0], 5).ravel() for item in (0, 1)])
    cells = places.image * 20 + places.top // 4 * 5 + places.left // 4
    for cell in (0, 7, 20 + 12, 20 + 13):
        expected = weights[cell] / weights.sum()
        assert (cells == cell).mean() == pytest.approx(expected, abs=5 * (expected / 20_000) ** 0.5)


def test_places_lie_in_the_image_and_all_of_them_are_drawn(images):
    places = DetailDraw(images, [2, 0], 5)(np.random.default_rng(0), 80_000)
    drawn = set(zip(places.image.tolist(), places.top.tolist(), places.left.tolist(), strict=True))
    expected = {(2, top, left) for top in range(14) for left in range(18)}
    assert drawn == expected | {(0, top, left) for top in range(16) for left in range(20)}


def test_images_are_named_by_their_own_number(images):
    for rule in (UniformDraw, DetailDraw):
        assert set(rule(images[::-1], [1, 2], 5)(np.random.default_rng(0), 200).image.tolist()) == {1, 2}
