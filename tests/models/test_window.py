"""Maps of tiles: interpolated as the whole image's, in at least float32, by weights that are made once."""

import pytest
import torch

from models.layers import ESA
from models.window import Window, _tile_matrix, resize_map, tile_of

HEIGHT, WIDTH, TILE = 90, 120, 48


def _maps(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a map, and the features that it belongs to."""
    random = torch.Generator().manual_seed(0)
    values = torch.randn(1, 2, ESA.cells(HEIGHT), ESA.cells(WIDTH), generator=random)
    return values.to(dtype), torch.zeros(1, 1, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("dtype", "steps"), [(torch.float64, 64), (torch.float32, 64), (torch.bfloat16, 0.5), (torch.float16, 0.5)]
)
def test_a_tiles_map_is_that_of_the_whole_image(dtype: torch.dtype, steps: float):
    """In half precision it is rounded once, at the end, by half a step; else what is rounded are places of up to 20."""
    values, features = _maps(dtype)
    whole = resize_map(values.double(), features, ESA.cells, 6)
    with tile_of(Window(0, 36, HEIGHT, WIDTH)):
        cells = slice(6, 6 + ESA.cells(TILE))
        tile = resize_map(values[:, :, : ESA.cells(TILE), cells], features[:, :, :TILE, :TILE], ESA.cells, 6)
    assert tile.dtype == dtype
    # The tile's last rows and columns lack cells that the whole image has.
    inside = (..., slice(0, 24), slice(12, 24))
    rounding = steps * torch.finfo(dtype).eps * (1 + 1e-3)
    expected = whole[..., :TILE, 36 : 36 + TILE][inside]
    assert ((tile.double()[inside] - expected).abs() <= rounding * expected.abs().clamp(min=1)).all()


def test_weights_are_made_once_for_all_tiles_of_a_column():
    values, features = _maps(torch.float32)
    _tile_matrix.cache_clear()
    for top in (0, 42):
        with tile_of(Window(top, 36, HEIGHT, WIDTH)):
            for _ in range(3):
                tile = features[:, :, :TILE, :TILE]
                resize_map(values[:, :, : ESA.cells(TILE), : ESA.cells(TILE)], tile, ESA.cells, 6)
    # Two rows and one column, of three blocks and two tiles.
    assert _tile_matrix.cache_info().misses == 3
    assert _tile_matrix.cache_info().hits == 9
