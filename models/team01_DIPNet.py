"""DIPNet: Yu et al., "DIPNet: Efficiency Distillation and Iterative Pruning for Image Super-Resolution".

CVPRW 2023, arXiv 2304.07018. Winner of the 2023 challenge's runtime track. In deploy form it is RLFN's graph,
pruned, and without bias outside the attention.
"""

from models.team00_RLFN import RLFN


class DIPNet(RLFN):
    """Map ``(N, 3, h, w)`` to ``(N, 3, 4h, 4w)``, both in [0, 1]; h and w of at least 15."""

    def __init__(self, channels: int = 44, hidden: int = 38) -> None:
        super().__init__(channels, hidden, bias=False)
