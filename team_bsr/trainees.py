"""The networks that the loop can train, by name. Training another one is one row here."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.team08_ABPN import ABPN
from team_bsr.network import TrainingPFDNLite, network_of_weights, reparameterize
from team_bsr.pruning import PRUNED_BLOCKS

PFDNLITE = "pfdnlite"


@dataclass(frozen=True)
class Trainee:
    """How a network is built.

    Attributes:
        build: gives the training form, with the given blocks pruned.
        of_weights: gives the training form of a state dict in training or deploy form.
        can_be_pruned: whether it has the recipe's second stage.
    """

    build: Callable[[Sequence[int]], nn.Module]
    of_weights: Callable[[Mapping[str, Tensor]], nn.Module]
    can_be_pruned: bool

    def forms(self) -> list[dict[str, Tensor]]:
        """Return state dicts of the network's forms, unpruned and pruned, in training and as it ships."""
        # What is drawn here counts nowhere: a seed's branches stay its own.
        with torch.random.fork_rng(devices=()):
            networks = [self.build(pruned) for pruned in ((), PRUNED_BLOCKS)[: 1 + self.can_be_pruned]]
        return [form.state_dict() for network in networks for form in (network, deploy_form(network))]


def _abpn(state: Mapping[str, Tensor]) -> ABPN:
    network = ABPN()
    network.load_state_dict(state, strict=True)
    return network


TRAINEES = {
    PFDNLITE: Trainee(lambda pruned: TrainingPFDNLite(pruned_blocks=pruned), network_of_weights, can_be_pruned=True),
    "abpn": Trainee(lambda _pruned: ABPN(), _abpn, can_be_pruned=False),
}


def pruned_blocks(network: nn.Module) -> list[int]:
    """Return which blocks of a network are pruned; none where there is nothing to prune."""
    return list(getattr(network, "pruned_blocks", ()))


def deploy_form(network: nn.Module) -> nn.Module:
    """Return the form of a network that ships; ``network`` is left as it is."""
    return reparameterize(network) if isinstance(network, TrainingPFDNLite) else deepcopy(network)
