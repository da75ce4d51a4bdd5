"""Other networks in the same loop: ABPN."""

import pytest
import torch
from accelerate import Accelerator

from eval.errors import RunError, UsageError
from models.team08_ABPN import ABPN
from team_bsr.checkpoint import load_checkpoint, load_network
from team_bsr.network import TrainingPFDNLite
from team_bsr.plan import Habits, Plan, Run
from team_bsr.pruning import prune
from team_bsr.trainees import TRAINEES, deploy_form, pruned_blocks
from team_bsr.training import train
from tests.team_bsr.test_training import images, pairs, small_step

__all__ = ["images", "pairs"]


def test_abpn_is_trained_by_the_same_loop(pairs, tmp_path):
    plan = Plan((small_step(iterations=2),), network="abpn")
    last = train(plan, Habits(), Run(tmp_path / "run", pairs), Accelerator(cpu=True))
    state = load_checkpoint(last)
    assert (state["trainee"], state["pruned_blocks"]) == ("abpn", [])
    network = load_network(last)
    assert isinstance(network, ABPN)
    torch.manual_seed(0)
    untrained = ABPN().state_dict()
    assert all(not torch.equal(untrained[key], value) for key, value in state["network"].items())


def test_abpn_has_no_fourth_step():
    with pytest.raises(UsageError, match="--network abpn: has no pruned form; leave step 4 out: --steps 1,2,3"):
        Plan((small_step(), small_step(4, stage=2)), network="abpn")
    with pytest.raises(RunError, match="got ABPN, which has no pruned form"):
        prune(ABPN())


def test_deploy_forms():
    network = ABPN()
    deployed = deploy_form(network)
    assert deployed is not network
    assert all(torch.equal(deployed.state_dict()[key], value) for key, value in network.state_dict().items())
    assert type(deploy_form(TrainingPFDNLite())).__name__ == "PFDNLite"
    assert pruned_blocks(ABPN()) == []
    assert pruned_blocks(TRAINEES["pfdnlite"].build((2, 3))) == [2, 3]
