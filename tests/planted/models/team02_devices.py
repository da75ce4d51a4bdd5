"""Names a GPU wherever it can, when it is made and when it runs."""

import numpy as np
import torch

from .team00_plain import Plain


class Devices(Plain):
    def __init__(self):
        super().__init__()
        self.gain = float(torch.ones(1, device="cuda").to("cuda:0").item()) * np.float(1)

    def forward(self, x):
        return super().forward(x.to("cuda")) * torch.full((1,), self.gain, device="cuda")
