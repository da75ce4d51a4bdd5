"""PFDNLite's training form, and the way from it to the deploy form.

**Feature scale.** Images have values in [0, 1], and their edges are small differences. With weights of the usual start
SiLU sees values near 0, where it is nearly a straight line, and it takes some hundred thousand iterations until the
weights have grown; the released ones have kernels of up to 260. So the first convolution starts ``FEATURE_SCALE`` times
larger and the last one as much smaller, and both are held in units of that (``blocks.ScaledConv``).
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from models.team03_PFDNLite import PFDNLite
from team_bsr.blocks import PointWise, RepChain, RepMBConv, ScaledConv

BLOCKS = (1, 2, 3, 4)
FEATURE_SCALE = 16.0
# What PyTorch's default start gives a convolution of 27 inputs: uniform within 1 / sqrt(27).
_HEAD_RMS = 1 / 9


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

    ``head`` and ``tail`` are in units of the feature scale.
    """

    def __init__(self, channels: int = 48, pruned_blocks: Sequence[int] = (), multi_branch: bool = False) -> None:
        super().__init__(channels, pruned_blocks)
        self.head = ScaledConv(3, channels)
        self.tail = nn.Sequential(ScaledConv(channels, 3 * self.repeats))
        self.scale_features(FEATURE_SCALE)
        self.channels, self.pruned_blocks = channels, tuple(pruned_blocks)
        half = channels // 2

        def chain(*layers: PointWise | RepMBConv) -> RepChain:
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
            self.get_parameter(f"block{number}.attn.body.3.bias").add_(1)
        # Channel 0 is the local gate's.
        self.get_parameter("head.bias")[0] += 1
        self.get_parameter("tail.0.weight").mul_(0.1)

    def scale_features(self, scale: float) -> None:
        """Hold the head in units of ``scale``, and the tail in units of its reciprocal; the parameters stay."""
        for name, values in (("head", (scale, 1)), ("tail.0", (1 / scale, 1 / scale))):
            self.get_buffer(f"{name}.scales").copy_(torch.tensor(values, dtype=torch.float64))

    @torch.no_grad()
    def grow_features(self, factor: float) -> None:
        """Make the features larger by a factor and the tail as much smaller, both held in units of the usual scale.

        Biases grow with the features that they are added to, and what attention reads of them is made smaller again,
        so that its map stays. Where SiLU was nearly a straight line it bends then, and the local gate is steeper; so
        it is another function, to be trained anew.
        """
        tail = self.tail[0]
        assert isinstance(tail, ScaledConv)
        (head_weight, head_bias), (tail_weight, tail_bias) = self.head.kernel(), tail.kernel()
        self.scale_features(FEATURE_SCALE)
        self.head.set_kernel(head_weight * factor, head_bias * factor)
        tail.set_kernel(tail_weight * (1 / factor), tail_bias)
        for name, parameter in self.named_parameters():
            if name.endswith("attn.body.0.weight"):
                parameter.div_(factor)
            elif ".conv" in name and name.endswith("bias"):
                parameter.mul_(factor)

    def block(self, number: int) -> nn.Module:
        """Return block ``number``, counted from 1."""
        return self.get_submodule(f"block{number}")


def reparameterize(network: TrainingPFDNLite) -> PFDNLite:
    """Return the deploy network that computes the same function; ``network`` is left as it is.

    Kernels are merged in float64, on the CPU since Apple's GPUs have none, and rounded once to the parameters' type.
    """
    deploy = PFDNLite(network.channels, network.pruned_blocks).to(network.head.weight)
    exact = deepcopy(network).cpu().double().requires_grad_(False)
    state = exact.state_dict()
    for name, layer in exact.named_modules():
        if isinstance(layer, (RepChain, ScaledConv)):
            state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")}
            state[f"{name}.weight"], state[f"{name}.bias"] = layer.kernel()
    deploy.load_state_dict({key: value.to(network.head.weight.dtype) for key, value in state.items()}, strict=True)
    return deploy


def network_of_weights(state: Mapping[str, Tensor]) -> TrainingPFDNLite:
    """Return the training network of a state dict, float32, in training or in deploy form.

    Raises:
        RuntimeError, KeyError: the state dict is another network's.
    """
    if not any(".mix." in key for key in state):
        return training_form(state)
    network = TrainingPFDNLite(pruned_blocks=[n for n in BLOCKS if f"block{n}.conv2.0.mix.weight" not in state])
    network.load_state_dict(state, strict=True)
    return network


@torch.no_grad()
def training_form(state: Mapping[str, Tensor]) -> TrainingPFDNLite:
    """Return a training network that computes what the deploy network of a state dict does.

    Many do; this is the one nearest to a random start, see ``RepChain.set_kernel``. The feature scale is the power of
    two, 1 or more, by which the head is larger than at its start. Merged in float64, then rounded once to float32.
    """
    state = {key: value.double() for key, value in state.items()}
    pruned_blocks = [number for number in BLOCKS if f"block{number}.conv2.weight" not in state]
    network = TrainingPFDNLite(len(state["head.bias"]), pruned_blocks).double()
    growth = state["head.weight"].square().mean().sqrt().item() / _HEAD_RMS
    network.scale_features(2.0 ** round(math.log2(max(1, growth))))
    for name, layer in network.named_modules():
        if isinstance(layer, (RepChain, ScaledConv)):
            layer.set_kernel(state.pop(f"{name}.weight"), state.pop(f"{name}.bias"))
    network.load_state_dict({**network.state_dict(), **state}, strict=True)
    return network.float()
