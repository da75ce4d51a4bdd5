"""Bicubic enlargement in the form of a network, so that every table can have its floor."""

from fractions import Fraction

import torch
from torch import Tensor, nn

from eval.data.resize import imresize
from eval.device.pixels import to_tensor, to_uint8


class Bicubic(nn.Module):
    """Map ``(1, 3, h, w)`` to ``(1, 3, 4h, 4w)``, both in [0, 255], by the exact bicubic on 8-bit values."""

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge a batch, image by image, on the CPU."""
        enlarged = [to_tensor(imresize(to_uint8(image, 255.0), Fraction(self.scale)), 255.0) for image in x]
        return torch.cat(enlarged).to(x.device)
