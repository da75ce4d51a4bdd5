"""8-bit pixels to tensors and back, as the challenge's template does it."""

import numpy as np
import pytest
import torch

from eval.device.pixels import to_tensor, to_uint8


def test_tensors_of_hand_values():
    image = np.array([[[0, 128, 255], [1, 2, 3]]], np.uint8)
    unit = to_tensor(image, 1.0)
    assert (unit.dtype, tuple(unit.shape)) == (torch.float32, (1, 3, 1, 2))
    expected = np.array([[[0, 1]], [[128, 2]], [[255, 3]]], np.float32) / np.float32(255)
    np.testing.assert_array_equal(unit[0].numpy(), expected)
    assert to_tensor(image, 255.0)[0].tolist() == [[[0.0, 1.0]], [[128.0, 2.0]], [[255.0, 3.0]]]


def test_tensors_are_copies_that_take_any_view(random_image):
    image = random_image(5, 7)
    flipped = to_tensor(image[:, ::-1], 255.0)
    np.testing.assert_array_equal(flipped[0].permute(1, 2, 0).numpy(), image[:, ::-1])
    flipped.zero_()
    assert image.any()


def test_uint8_of_hand_values_in_255():
    values = [-3.0, 0.49, 0.5, 0.51, 1.5, 2.5, 126.5, 127.5, 254.49, 254.5, 254.51, 255.0, 300.0]
    output = to_uint8(torch.tensor(values).reshape(1, 1, -1).expand(3, 1, -1), 255.0)
    assert (output.dtype, output.shape) == (np.uint8, (1, len(values), 3))
    assert output[0, :, 1].tolist() == [0, 0, 0, 1, 2, 2, 126, 128, 254, 254, 255, 255, 255]


def test_uint8_of_hand_values_in_1():
    values = [-0.1, 0.0, 0.5, 100.4 / 255, 100.6 / 255, 1.0, 1.7]
    output = to_uint8(torch.tensor(values).reshape(1, 1, -1).expand(3, 1, -1), 1.0)
    assert output[0, :, 0].tolist() == [0, 0, 128, 100, 101, 255, 255]


def test_uint8_keeps_rows_columns_and_channels():
    output = to_uint8(torch.arange(24.0).reshape(3, 2, 4), 255.0)
    assert output.shape == (2, 4, 3)
    assert output[1, 2].tolist() == [6, 14, 22]
    assert output.flags.c_contiguous


@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_all_values_survive_the_way_to_a_tensor_and_back(data_range: float):
    image = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    np.testing.assert_array_equal(to_uint8(to_tensor(image, data_range)[0], data_range), image)


def test_rows_wider_than_a_band_are_converted_one_by_one():
    values = torch.linspace(0, 1, 3 * 2 * 50_000).view(3, 2, 50_000)
    expected = torch.round(values * 255).permute(1, 2, 0).numpy()
    assert np.array_equal(to_uint8(values, 1.0), expected)


def test_any_range_is_rounded_as_the_template_does():
    # 255 times the value, then divided: 6.5 and 14.5 are halves in float32, and go to the even number.
    values = torch.tensor([0.2549019753932953, 0.5686274766921997]).repeat(3, 1, 1)
    assert to_uint8(values, 10.0)[0, :, 0].tolist() == [6, 14]


def test_half_precision_is_widened_before_it_is_scaled():
    # 0.068603515625 x 255 is 17.49, and 17.5 in float16.
    assert to_uint8(torch.full((3, 1, 1), 0.068603515625, dtype=torch.float16), 1.0).tolist() == [[[17, 17, 17]]]
