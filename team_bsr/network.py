"""PFDNLite's training form, and the way from it to the deploy form."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn

from models.team03_PFDNLite import PFDNLite
from team_bsr.blocks import PointWise, RepChain, RepMBConv

BLOCKS = (1, 2, 3, 4)


class TrainingPFDNLite(PFDNLite):
    """PFDNLite whose blocks hold re-parameterised convolutions in place of plain ones; the graph is the deploy form's.

    ========  ============================  ======================================
    place     PFDBLite                      Pruned-PFDBLite
    ========  ============================  ======================================
    conv1     RepMBConv(48)                 RepMBConv(48), point-wise 48 -> 24
    conv2     RepMBConv(24)                 none
    conv3     point-wise 48, RepMBConv(48)  point-wise 48, RepMBConv(48)
    ========  ============================  ======================================

    Args:
        channels: features, 48 in the entry.
        pruned_blocks: none in the first stage, (2, 3) in the second.
        multi_branch: run the branches as drawn instead of merging each step; the parameters are the same.
    """

    def __init__(self, channels: int = 48, pruned_blocks: Sequence[int] = (), multi_branch: bool = False) -> None:
        super().__init__(channels, pruned_blocks)
        self.channels, self.pruned_blocks = channels, tuple(pruned_blocks)
        half = channels // 2

        def chain(*layers: nn.Module) -> RepChain:
            return RepChain(*layers, multi_branch=multi_branch)

        for number in BLOCKS:
            block = self.block(number)
            if number in pruned_blocks:
                block.conv1 = chain(RepMBConv(channels), PointWise(channels, half, bias=True))
            else:
                block.conv1 = chain(RepMBConv(channels))
                block.conv2 = chain(RepMBConv(half))
            point_wise = PointWise(channels, channels, bias=False)
            nn.init.dirac_(point_wise.weight)
            block.conv3 = chain(point_wise, RepMBConv(channels))
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Let features through, and start near the anchor.

        Two sigmoids near 1/2 a block would leave 1/256 of the features after four blocks, so the attention starts
        more open; biases start at zero and the tail small. Measured, this halves the first few hundred iterations.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        for number in BLOCKS:
            self.block(number).attn.body[3].bias += 1
        # Channel 0 is the local gate's.
        self.head.bias[0] += 1
        self.tail[0].weight *= 0.1

    def block(self, number: int) -> nn.Module:
        """Return block ``number``, counted from 1."""
        return self.get_submodule(f"block{number}")


def reparameterize(network: TrainingPFDNLite) -> PFDNLite:
    """Return the deploy network that computes the same function; ``network`` is left as it is.

    Kernels are merged in float64 and rounded once to the parameters' type.
    """
    deploy = PFDNLite(network.channels, network.pruned_blocks).to(network.head.weight)
    exact = deepcopy(network).double().requires_grad_(False)
    state = exact.state_dict()
    for name, chain in exact.named_modules():
        if isinstance(chain, RepChain):
            state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")}
            state[f"{name}.weight"], state[f"{name}.bias"] = chain.kernel()
    deploy.load_state_dict(state, strict=True)
    return deploy
