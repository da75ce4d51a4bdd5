"""A network as small as can be: it enlarges by pixel shuffle, and learns next to nothing."""

import torch
from torch import nn


class Plain(nn.Module):
    def __init__(self, scale=4):
        super().__init__()
        self.conv = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.up = nn.PixelShuffle(scale)

    def forward(self, x):
        return self.up(self.conv(x))


def nearest_weights():
    """Weights that repeat each pixel: what the network then returns can be worked out by hand."""
    network = Plain()
    with torch.no_grad():
        network.conv.bias.zero_()
        network.conv.weight.zero_()
        for channel in range(3):
            network.conv.weight[channel * 16 : (channel + 1) * 16, channel, 1, 1] = 1
    return network.state_dict()
