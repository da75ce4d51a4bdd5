"""What is counted of a graph: all that it computes is counted, is known to be free, or is named."""

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.third_party.faults import SubmissionError
from eval.third_party.graphs import counted_forward, load_graph
from eval.third_party.shims import scans  # noqa: F401 (its operator)

X = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
VALUES = X.numel()
WEIGHTS = torch.full((4,), 0.5)


class Net(nn.Module):
    def __init__(self, how: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> object:
        return self.how(x)


def counted(how: Callable[[Tensor], object]) -> dict:
    return counted_forward(Net(how), X)[1]


def scan(x: Tensor) -> tuple[Tensor, Tensor]:
    u, groups = x.flatten(2), torch.ones(1, 1, 3, 1)
    return torch.ops.esr.selective_scan(u, u, torch.ones(4, 3), groups, groups, torch.zeros(1, 4, 3))


@pytest.mark.parametrize(
    ("how", "unknown"),
    [
        (lambda x: F.bilinear(x, x, torch.ones(5, 8, 8)), "aten::_trilinear"),
        (lambda x: torch.cdist(x[0, 0], x[0, 1], compute_mode="donot_use_mm_for_euclid_dist"), "aten::_cdist_forward"),
        (lambda x: torch._foreach_mul([x, x], 0.5), "aten::_foreach_mul"),
        (
            lambda x: F.embedding_bag(
                torch.zeros(1, 8, dtype=torch.long), x[0, 0], per_sample_weights=x[0, 0, :1], mode="sum"
            ),
            "aten::_embedding_bag",
        ),
        (scan, "esr::selective_scan"),
    ],
)
def test_an_operator_that_is_not_known_is_named(how: Callable, unknown: str):
    (found,) = counted(how)["unknown"]
    assert found.startswith(unknown)


@pytest.mark.parametrize(
    "how",
    [
        lambda x: torch.add(x, x, alpha=0.3),
        lambda x: torch.add(x, x, alpha=0.3, out=torch.empty_like(x)),
        lambda x: F.leaky_relu(x, 0.3),
        lambda x: x * WEIGHTS.view(1, 4, 1, 1),
        lambda x: torch.lerp(x, x, 0.3),
        lambda x: F.prelu(x, WEIGHTS),
        lambda x: F.batch_norm(x, WEIGHTS, WEIGHTS, WEIGHTS),
        lambda x: F.layer_norm(x, (8, 8)),
        lambda x: x.softmax(1),
        lambda x: x.std(),
        lambda x: x.clone().eq_(1),
    ],
)
def test_values_that_are_computed_one_by_one_are_counted(how: Callable):
    assert counted(how) == {"num_params": 0, "flops": 0, "values": VALUES, "unknown": []}


def test_what_moves_values_or_adds_them_up_is_free():
    def moved(x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2).roll(1, -1).permute(0, 2, 3, 1).contiguous().mT
        x = torch.cat([F.unfold(x, 3), F.unfold(x, 3)]).repeat(1, 1, 2).reshape(2, -1, 6).flip(0)
        x = F.max_pool1d(F.pad(x, (1, 1), mode="reflect"), 2).topk(2).values.sort().values
        x[:, 0] = x.new_zeros(2)
        return x.amax(1) + 0 if x.sum() == 0 else x.sum(1).repeat_interleave(4, 1)

    found = counted(moved)
    assert found["unknown"] == []
    # It compares a sum with 0.
    assert found["values"] <= 2


def test_multiply_adds_are_flops():
    assert counted(lambda x: F.conv2d(x, torch.ones(2, 4, 1, 1))) == {
        "num_params": 0, "flops": 2 * VALUES, "values": 0, "unknown": []
    }  # fmt: skip


def blurred(x: Tensor) -> Tensor:
    return x * 0.5


@torch.jit.script
def forks(x: Tensor) -> Tensor:
    return torch.jit.wait(torch.jit.fork(blurred, x))


@torch.jit.script
def lists(x: Tensor) -> Tensor:
    values: list[float] = x.flatten().tolist()
    return torch.tensor([2 * value for value in values])


@pytest.mark.parametrize(("graph", "called"), [(forks, "prim::fork"), (lists, "prim::tolist")])
def test_what_its_counter_would_not_see_is_refused(graph: torch.jit.ScriptFunction, called: str):
    written = io.BytesIO()
    torch.jit.save(graph, written)
    with pytest.raises(SubmissionError, match=f"its graph calls {called}"):
        load_graph(written.getvalue(), 1.0, torch.device("cpu"))
