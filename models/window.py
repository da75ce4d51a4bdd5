"""Where a tile lies in the image that it was cut from.

Attention maps at a sixth of the resolution are interpolated back to the size of the features. How far apart the map's
cells then lie depends on the size of the whole input, so a tile processed as an image of its own gets a map that is
shifted by up to two pixels, worth up to 0.2 dB. Inside ``tile_of`` the map of a tile is interpolated as that of the
whole image would be, so that tiles agree with the whole image except near their edges.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Each about as large as a tile is long, times a sixth of it.
_KEPT_MATRICES = 1024


@dataclass(frozen=True)
class Window:
    """A tile's place: offset of its top left corner, and size of the whole image, in input pixels."""

    top: int
    left: int
    image_height: int
    image_width: int


_window: ContextVar[Window | None] = ContextVar("window", default=None)


@contextmanager
def tile_of(window: Window) -> Iterator[None]:
    """Let the networks that run inside the block know which tile of which image they see."""
    token = _window.set(window)
    try:
        yield
    finally:
        _window.reset(token)


def resize_map(values: Tensor, features: Tensor, cells: Callable[[int], int], step: int) -> Tensor:
    """Interpolate a coarse map bilinearly to the height and width of the features that it was made from.

    Args:
        values: ``(N, C, cells(h), cells(w))``.
        features: ``(N, any, h, w)``; a tile must start at multiples of ``step``.
        cells: the map's length as a function of the features' length.
        step: distance between the map's cells, in pixels of the features.

    Returns:
        ``(N, C, h, w)``; as ``torch``'s interpolation with ``align_corners=False`` on the whole image.
    """
    height, width = features.shape[-2:]
    # A compiled graph is that of whole images; what a block of code says of tiles would be compiled in.
    window = None if torch.compiler.is_compiling() else _window.get()
    if window is None:
        return F.interpolate(values, size=(height, width), mode="bilinear", align_corners=False)
    # At least in float32, as torch's own interpolation of a map in half precision.
    like = (values.device, torch.promote_types(values.dtype, torch.float32))
    down = _tile_matrix((window.top, height, window.image_height), cells, step, *like)
    across = _tile_matrix((window.left, width, window.image_width), cells, step, *like)
    return (down @ values.to(like[1]) @ across.T).to(values.dtype)


@lru_cache(maxsize=_KEPT_MATRICES)
def _tile_matrix(
    side: tuple[int, int, int], cells: Callable[[int], int], step: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the ``(length, cells(length))`` weights of linear interpolation along one side of a tile, on a device.

    Tiles of a column or row share them, and so do all blocks of a network and all images of a size.

    Args:
        side: where the tile starts in the image, its length, and the image's.
        cells: the map's length as a function of the features' length.
        step: distance between the map's cells, in pixels of the features.
        device: where the weights are kept.
        dtype: in which they are kept.
    """
    start, length, image_length = side
    position = torch.arange(start, start + length, dtype=torch.float64)
    coordinate = (position + 0.5) * cells(image_length) / image_length - 0.5
    # The image's own border clamps first; then the tile's, where its map lacks the cell that is asked for.
    coordinate = coordinate.clamp(0, cells(image_length) - 1) - start // step
    coordinate = coordinate.clamp(0, cells(length) - 1)
    cell = torch.arange(cells(length), dtype=torch.float64)
    return (1 - (coordinate.unsqueeze(1) - cell).abs()).clamp(min=0).to(device, dtype)
