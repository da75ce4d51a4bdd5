"""Training patches cut on the device: all images lie there, decoded, and a batch is one gather.

Cutting patches on the CPU and copying them would keep a fast GPU waiting. What is drawn, and so every batch, is equal
to that of ``PatchBatches``.
"""

import numpy as np
import torch
from torch import Tensor

from eval.device.memory import available_bytes
from team_bsr.data import Pairs
from team_bsr.patches import Drawn, PatchBatches, Sampling, turned
from team_bsr.sources import SCALE

# Of the device's free memory, what images may take; the network needs the rest.
_SHARE = 1 / 2
_CHANNELS = 3
_PIECE_BYTES = 2**26


def fits(pairs: Pairs, device: torch.device) -> bool:
    """Tell whether all pixels fit beside the network on a device."""
    return pairs.pixels.nbytes <= _SHARE * available_bytes(device)


class ResidentPatches:
    """Item i is the batch of iteration i: ``(lr, hr)``, uint8 on the device, as ``PatchBatches`` has them."""

    def __init__(self, pairs: Pairs, sampling: Sampling, device: torch.device) -> None:
        self._batches, self._device = PatchBatches(pairs, sampling), device
        side = sampling.step.hr_patch // SCALE
        # A row a pixel: whatever is stored there has three channels.
        self._pixels = _on_device(pairs.pixels, device).view(-1, _CHANNELS)
        self._turns = {scale: _turns(side * scale).to(device) for scale in (1, SCALE)}
        lies = np.array([(pair.lr_offset, pair.hr_offset, pair.width) for pair in pairs.index])
        self._starts, self._widths = {1: lies[:, 0] // _CHANNELS, SCALE: lies[:, 1] // _CHANNELS}, lies[:, 2]

    def __getitem__(self, iteration: int) -> tuple[Tensor, Tensor]:
        drawn = self._batches.drawn(iteration)
        return self._cut(1, drawn), self._cut(SCALE, drawn)

    def _cut(self, scale: int, drawn: Drawn) -> Tensor:
        """Return ``(b, 3, p, p)`` patches of the LR images, or of the HR ones."""
        widths = self._widths[drawn.image] * scale
        corners = self._starts[scale][drawn.image] + drawn.top * scale * widths + drawn.left * scale
        told = np.concatenate((np.stack((corners, widths, drawn.turn)), drawn.channels.T))
        # CUDA has copied pageable memory when the call returns; MPS may read it when it is gone.
        told = torch.from_numpy(told).to(self._device, non_blocking=self._device.type == "cuda")
        rows, columns = self._turns[scale][:, told[2]]
        places = told[0].view(-1, 1, 1) + rows * told[1].view(-1, 1, 1) + columns
        channels = told[3:].T.view(-1, 1, 1, _CHANNELS).expand(*places.shape, -1)
        return self._pixels[places].gather(3, channels).permute(0, 3, 1, 2)


def _on_device(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Return all pixels on the device, copied piece by piece: in the host's memory there may be no room for them."""
    held = torch.empty(pixels.size, dtype=torch.uint8, device=device)
    for start in range(0, pixels.size, _PIECE_BYTES):
        piece = np.array(pixels[start : start + _PIECE_BYTES])
        held[start : start + piece.size] = torch.from_numpy(piece).to(device)
    return held


def _turns(side: int) -> Tensor:
    """Return the row and the column that each pixel of a turned patch comes from, ``(2, 8, side, side)``."""
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    all_turns = [np.stack([turned(axis, turn) for axis in places]) for turn in range(8)]
    return torch.from_numpy(np.stack(all_turns, 1))
