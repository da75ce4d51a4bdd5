"""Super-resolving an image tile by tile, so that memory is bounded by the tile and not by the image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.errors import UsageError
from models.window import Window

DEFAULT_OVERLAP = 32


@dataclass(frozen=True)
class Tiling:
    """Tiles of ``tile`` by ``tile`` LR pixels, of which neighbours share at least ``overlap``.

    ``overlap=None`` stands for 32, or for a quarter of a tile of less than 128. Tiles start at multiples of ``step``,
    the grid of the network's strided layers, so that these see the same pixels together as in the whole image.
    """

    tile: int
    overlap: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot cover an image."""
        if self.tile < 1:
            raise UsageError(f"--tile {self.tile}: expected at least 1")
        if self.overlap is not None and not 0 <= self.overlap < self.tile:
            raise UsageError(f"--tile_overlap {self.overlap}: expected 0 to {self.tile - 1}, less than --tile")

    @property
    def shared(self) -> int:
        """The least overlap in LR pixels."""
        return min(DEFAULT_OVERLAP, self.tile // 4) if self.overlap is None else self.overlap

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Return where tiles start and end along a side; the last one ends at the border."""
        if length <= self.tile:
            return [(0, length)]
        stride = self.tile - self.shared
        step = self.step if stride >= self.step else 1
        last = -(-(length - self.tile) // step) * step
        return [(start, start + self.tile) for start in range(0, last, stride // step * step)] + [(last, length)]

    def weights(self, length: int, scale: int) -> Tensor:
        """Return each tile's share of each SR position along a side: ``(tiles, length * scale)``, columns sum to 1.

        The outer quarter of an overlap, where a tile lacks context most, counts nothing; over the middle half one
        tile's share falls as the other's rises.
        """
        overlap = self.shared * scale
        position = torch.arange(length * scale) + 0.5
        start, end = (torch.tensor(self.spans(length)) * scale).T.unsqueeze(2)
        from_start = torch.where(start == 0, torch.inf, position - start)
        to_end = torch.where(end == length * scale, torch.inf, end - position)
        share = (torch.minimum(from_start, to_end) - overlap / 4).clamp(min=0, max=max(overlap / 2, 0.5))
        share *= (start < position) & (position < end)
        return share / share.sum(dim=0)


def upscale_in_tiles(
    lr: Tensor,
    tiling: Tiling,
    scale: int,
    upscale: Callable[[Tensor, Window], Tensor],
    finish: Callable[[Tensor], np.ndarray],
) -> np.ndarray:
    """Upscale ``(1, 3, h, w)`` tile by tile and blend the overlaps.

    Only one row of tiles is held in float; finished rows of the image are handed to ``finish`` at once.

    Args:
        lr: the whole image, on the CPU.
        tiling: tile size and overlap.
        scale: SR pixels per LR pixel.
        upscale: maps a tile ``(1, 3, th, tw)`` and its place to ``(3, th * scale, tw * scale)`` on the CPU.
        finish: maps finished float rows ``(3, n, w * scale)`` to ``(n, w * scale, 3)`` uint8.
    """
    height, width = lr.shape[-2:]
    rows, columns = tiling.spans(height), tiling.spans(width)
    down, across = tiling.weights(height, scale), tiling.weights(width, scale)
    band = torch.zeros(3, min(tiling.tile, height) * scale, width * scale)
    pixels = np.empty((height * scale, width * scale, 3), np.uint8)
    for row, (top, bottom) in enumerate(rows):
        share_down = down[row, top * scale : bottom * scale].unsqueeze(1)
        for column, (left, right) in enumerate(columns):
            inside = slice(left * scale, right * scale)
            sr = upscale(lr[..., top:bottom, left:right], Window(top, left, height, width))
            band[:, : sr.shape[1], inside] += sr * (share_down * across[column, inside])
        next_top = rows[row + 1][0] if row + 1 < len(rows) else height
        done = (next_top - top) * scale
        pixels[top * scale : next_top * scale] = finish(band[:, :done])
        band = torch.cat((band[:, done:], torch.zeros(3, done, width * scale)), dim=1)
    return pixels
