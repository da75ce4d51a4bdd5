"""A tile's attention map is interpolated as the whole image's."""

import pytest
import torch
import torch.nn.functional as F

from models.layers import ESA
from models.team03_PFDNLite import LocalAttention
from models.window import Window, resize_map, tile_of

CELLS = {"ESA": ESA.cells, "LocalAttention": LocalAttention.cells}


@pytest.mark.parametrize("layer", CELLS)
@pytest.mark.parametrize("length", [15, 16, 48, 64, 127, 128, 256, 510])
def test_cells_is_the_length_that_the_layer_gives(layer: str, length: int):
    if layer == "ESA":
        module = ESA(8, 4)
        pooled = F.max_pool2d(module.conv2(torch.zeros(1, 4, length, 20)), kernel_size=7, stride=3)
    else:
        pooled = LocalAttention(12).body[:3](torch.zeros(1, 12, length, 20))
    assert pooled.shape[-2] == CELLS[layer](length)


def test_a_tile_that_is_the_whole_image_changes_nothing():
    values, features = torch.rand(1, 4, ESA.cells(70), ESA.cells(95)).double(), torch.zeros(1, 1, 70, 95)
    whole = resize_map(values, features, ESA.cells, step=6)
    with tile_of(Window(0, 0, 70, 95)):
        assert torch.allclose(resize_map(values, features, ESA.cells, step=6), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", CELLS)
def test_a_tile_gets_its_part_of_the_whole_map(layer: str):
    cells, height, width = CELLS[layer], 240, 300
    values = torch.rand(1, 4, cells(height), cells(width), dtype=torch.double)
    whole = resize_map(values, torch.zeros(1, 1, height, width), cells, step=6)
    top, left, side = 60, 96, 128
    part = values[:, :, top // 6 : top // 6 + cells(side), left // 6 : left // 6 + cells(side)]
    with tile_of(Window(top, left, height, width)):
        tile = resize_map(part, torch.zeros(1, 1, side, side), cells, step=6)
    inside = slice(18, side - 24)
    expected = whole[:, :, top : top + side, left : left + side][:, :, inside, inside]
    assert torch.allclose(tile[:, :, inside, inside], expected, rtol=0, atol=1e-12)


def test_the_window_ends_with_its_block_even_after_an_error():
    values, features = torch.rand(1, 2, ESA.cells(64), ESA.cells(64)), torch.zeros(1, 1, 64, 64)
    before = resize_map(values, features, ESA.cells, step=6)
    with pytest.raises(ZeroDivisionError), tile_of(Window(60, 60, 500, 500)):
        raise ZeroDivisionError
    assert torch.equal(resize_map(values, features, ESA.cells, step=6), before)
