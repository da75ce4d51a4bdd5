"""From PFDBLite to Pruned-PFDBLite: the second stage starts from the weights of the first."""

import torch
from torch import Tensor, nn

from eval.errors import RunError, UsageError
from team_bsr.blocks import RepChain
from team_bsr.network import TrainingPFDNLite

PRUNED_BLOCKS = (2, 3)
RULES = ("first", "importance")


def prune(network: nn.Module, rule: str = "importance") -> TrainingPFDNLite:
    """Return a network with ``PRUNED_BLOCKS`` pruned and initialised from ``network``, which is left as it is.

    Attention, the first RepMBConv, and the last point-wise convolution with its RepMBConv are copied; the middle
    RepMBConv goes. The new point-wise convolution 48 -> 24 selects 24 of the first RepMBConv's channels, so that the
    fused conv1 holds rows of the old one, with zero bias.

    Args:
        network: the first stage's network, none of whose blocks is pruned.
        rule: "first" keeps channels 0..23, those that the middle convolution worked on. "importance" keeps the 24
            that conv3 weighs most, by L1 norm, in their order; conv3's point-wise convolution reads each where it now
            stands, and starts by not reading the attention's half, which was not there before.

    Raises:
        RunError: the network is already pruned.
        UsageError: the rule is unknown.
    """
    if not isinstance(network, TrainingPFDNLite):
        raise RunError(f"expected PFDNLite's training form, got {type(network).__name__}, which has no pruned form")
    if network.pruned_blocks:
        raise RunError(f"expected a network of the first stage, got one with blocks {network.pruned_blocks} pruned")
    if rule not in RULES:
        raise UsageError(f"--rule: expected one of {', '.join(RULES)}, got {rule!r}")
    pruned = TrainingPFDNLite(network.channels, PRUNED_BLOCKS).to(network.head.weight)
    old = network.state_dict()
    state = {key: old.get(key, value) for key, value in pruned.state_dict().items()}
    half = network.channels // 2
    for number in PRUNED_BLOCKS:
        block, chosen = f"block{number}", list(range(half))
        if rule == "importance":
            reader = network.block(number).conv3
            assert isinstance(reader, RepChain)
            chosen = important_channels(reader, half)
            state[f"{block}.conv3.0.weight"] = _moved(old[f"{block}.conv3.0.weight"], chosen)
        state[f"{block}.conv1.1.weight"] = torch.eye(network.channels)[chosen][..., None, None]
        state[f"{block}.conv1.1.bias"] = torch.zeros(half)
    pruned.load_state_dict(state, strict=True)
    return pruned


def important_channels(reader: RepChain, count: int) -> list[int]:
    """Return the ``count`` input channels that ``reader`` weighs most, by L1 norm of its merged kernel, ascending."""
    with torch.no_grad():
        norms = reader.kernel()[0].abs().sum((0, 2, 3))
    return sorted(norms.topk(count).indices.tolist())


def _moved(point_wise: Tensor, chosen: list[int]) -> Tensor:
    """Return conv3's ``(C, C, 1, 1)`` point-wise weight, reading only the ``chosen`` channels, at the front."""
    return torch.cat((point_wise[:, chosen], torch.zeros_like(point_wise[:, len(chosen) :])), dim=1)
