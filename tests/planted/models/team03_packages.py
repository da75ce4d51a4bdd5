"""Imports what training frameworks have, and takes little of it."""

import audioop  # noqa: F401

import torchvision.ops as ops  # noqa: F401
from basicsr.archs.arch_util import trunc_normal_
from basicsr.utils.registry import ARCH_REGISTRY
from mmcv.cnn import ConvModule
from timm.models.layers import DropPath, to_2tuple

from .team00_plain import Plain


@ARCH_REGISTRY.register()
class Packages(Plain):
    def __init__(self):
        super().__init__()
        assert to_2tuple(3) == (3, 3)
        trunc_normal_(self.conv.weight, std=0.02)
        self.unused = ConvModule(3, 3, 1, norm_cfg=dict(type="BN"), act_cfg=dict(type="ReLU"))
        self.drop = DropPath(0.1)

    def forward(self, x):
        return super().forward(self.drop(x))
