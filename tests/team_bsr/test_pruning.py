"""What pruning keeps, by either rule."""

import pytest
import torch

from eval.errors import RunError, UsageError
from team_bsr.network import TrainingPFDNLite, reparameterize
from team_bsr.pruning import RULES, important_channels, prune
from tests.rounding import rounding
from tests.team_bsr.test_network import random_network

# A merged kernel's entries, below 4, are sums over expand, mix and reduce.
EXACT = rounding(torch.float64, 48 + 96 + 96, 4.0)


def test_first_keeps_rows_0_to_23_of_the_fused_conv1():
    network = random_network().double()
    old, new = reparameterize(network), reparameterize(prune(network, "first"))
    for number in (2, 3):
        before, after = old.get_submodule(f"block{number}"), new.get_submodule(f"block{number}")
        assert (after.conv1.weight - before.conv1.weight[:24]).abs().max() < EXACT
        assert (after.conv1.bias - before.conv1.bias[:24]).abs().max() < EXACT
        assert (after.conv3.weight - before.conv3.weight).abs().max() < EXACT


def test_importance_keeps_the_rows_that_conv3_weighs_most():
    network = random_network().double()
    old, new = reparameterize(network), reparameterize(prune(network, "importance"))
    for number in (2, 3):
        before, after = old.get_submodule(f"block{number}"), new.get_submodule(f"block{number}")
        norms = [before.conv3.weight[:, channel].abs().sum().item() for channel in range(48)]
        kept = sorted(sorted(range(48), key=lambda channel: -norms[channel])[:24])
        assert kept != list(range(24))
        assert (after.conv1.weight - before.conv1.weight[kept]).abs().max() < EXACT
        assert (after.conv3.weight[:, :24] - before.conv3.weight[:, kept]).abs().max() < EXACT
        assert (after.conv3.weight[:, 24:]).abs().max() < EXACT


def test_important_channels_by_hand():
    network = TrainingPFDNLite()
    reader = network.block1.conv3
    with torch.no_grad():
        reader[0].weight.zero_()
        for channel in (40, 3, 17):
            reader[0].weight[channel, channel] = 1.0
    assert important_channels(reader, 3) == [3, 17, 40]


@pytest.mark.parametrize("rule", RULES)
def test_all_that_both_blocks_have_is_copied_and_the_source_stays(rule):
    network = random_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    pruned = prune(network, rule).state_dict()
    new = {f"block{number}.conv1.1.{part}" for number in (2, 3) for part in ("weight", "bias")}
    gone = {key for key in before if key.startswith(("block2.conv2.", "block3.conv2."))}
    assert pruned.keys() - before.keys() == new
    assert before.keys() - pruned.keys() == gone
    moved = set() if rule == "first" else {"block2.conv3.0.weight", "block3.conv3.0.weight"}
    for key in before.keys() & pruned.keys() - moved:
        assert torch.equal(pruned[key], before[key]), key
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_errors():
    network = TrainingPFDNLite()
    with pytest.raises(UsageError, match="expected one of first, importance, got 'best'"):
        prune(network, "best")
    with pytest.raises(RunError, match=r"blocks \(2, 3\) pruned"):
        prune(prune(network))
