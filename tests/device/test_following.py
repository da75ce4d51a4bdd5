"""What is told of a pass: every operator, with all tensors that it returns."""

from typing import Any

import torch
from torch import Tensor

from eval.device.following import Following


def test_each_operator_is_told_with_what_it_returns():
    told: list[tuple[str, list[tuple[int, ...]]]] = []

    def note(operator: Any, made: list[Tensor]) -> None:
        told.append((operator._schema.name, [tuple(tensor.shape) for tensor in made]))

    with Following(note):
        (torch.ones(2, 3) + 1).split(1)
    torch.ones(5)
    assert told == [("aten::ones", [(2, 3)]), ("aten::add", [(2, 3)]), ("aten::split", [(1, 3), (1, 3)])]
