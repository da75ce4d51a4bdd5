"""Muon, beside singular values; and which parameters each optimizer takes."""

import math

import pytest
import torch
from accelerate import Accelerator

from eval.errors import UsageError
from models.team08_ABPN import ABPN
from team_bsr.network import TrainingPFDNLite
from team_bsr.optimisation import Optimisation
from team_bsr.optimizers import OPTIMIZERS, Muon, orthogonal
from team_bsr.plan import Plan
from team_bsr.pruning import PRUNED_BLOCKS
from tests.team_bsr.test_training import small_step


def by_singular_values(matrix: torch.Tensor) -> torch.Tensor:
    """What the iteration does to a matrix, said of its singular values: the quintic, five times."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / matrix.square().sum().sqrt()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ torch.diag(values) @ right


def gradients(*shape: int, count: int = 1) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=random, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12), (1, 9)])
def test_a_matrix_keeps_its_directions_and_all_count_about_alike(shape: tuple[int, int]):
    (matrix,) = gradients(*shape)
    found = orthogonal(matrix)
    assert torch.allclose(found, by_singular_values(matrix), atol=1e-12)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.65
    assert values.max() < 1.25


def test_a_matrix_of_zeros_stays_one():
    assert torch.equal(orthogonal(torch.zeros(4, 9)), torch.zeros(4, 9))


def test_two_steps_are_those_of_the_definition():
    start, *given = gradients(4, 3, 3, 3, count=3)
    weight = torch.nn.Parameter(start.clone())
    optimizer = Muon([weight], lr=0.01, weight_decay=0.1)
    expected, momentum = start.flatten(1), torch.zeros(4, 27, dtype=torch.float64)
    for gradient in given:
        weight.grad = gradient
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient.flatten(1)
        ahead = 0.05 * gradient.flatten(1) + 0.95 * momentum
        # A matrix of 4 rows of 27 with equal singular values has an RMS of their size by the root of 27.
        update = 2 / 3 * math.sqrt(27) * by_singular_values(ahead)
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * update
    assert torch.allclose(weight.flatten(1), expected, atol=1e-12)
    assert 0.5 < update.square().mean().sqrt() < 0.8


def test_a_parameter_without_a_gradient_stays():
    weight = torch.nn.Parameter(torch.ones(3, 3))
    Muon([weight], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(weight, torch.ones(3, 3))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("network", [TrainingPFDNLite(), TrainingPFDNLite(pruned_blocks=PRUNED_BLOCKS), ABPN()])
def test_each_parameter_has_one_optimizer(name: str, network: torch.nn.Module):
    found = OPTIMIZERS[name](network, small_step())
    taken = [parameter for its in found for group in its.param_groups for parameter in group["params"]]
    assert sorted(map(id, taken)) == sorted(map(id, network.parameters()))
    assert {group["lr"] for its in found for group in its.param_groups} == {small_step().rate}


def test_matrices_are_the_convolutions_between_features():
    network = TrainingPFDNLite(pruned_blocks=PRUNED_BLOCKS)
    matrices, others = (
        {id(its) for its in found.param_groups[0]["params"]} for found in OPTIMIZERS["muon"](network, small_step())
    )
    names = {name for name, parameter in network.named_parameters() if id(parameter) in matrices}
    assert {"block1.conv1.0.mix.weight", "block2.conv1.1.weight", "block4.conv3.0.weight"} <= names
    assert not any(name.startswith(("head", "tail")) or "gate" in name or name.endswith("bias") for name in names)
    assert id(network.get_parameter("tail.0.weight")) in others


def test_a_state_of_when_there_was_one_optimizer_is_taken_up():
    old, new = (Optimisation(ABPN(), small_step(), Accelerator(cpu=True), recorded=False) for _ in range(2))
    batch = torch.zeros(1, 3, 10, 10, dtype=torch.uint8), torch.full((1, 3, 40, 40), 9, dtype=torch.uint8)
    old(*batch, 1e-3)
    state = old.state()
    new.take_up({**state, "optimizer": state["optimizer"][0]})
    assert new.state()["optimizer"][0]["state"][0]["step"] == 1


def test_two_optimizers_are_refused_where_losses_are_scaled():
    with pytest.raises(UsageError, match="step 1: optimizer muon: does not work with --precision fp16"):
        Plan((small_step(optimizer="muon"),), precision="fp16")
    Plan((small_step(optimizer="muon"),), precision="bf16")
