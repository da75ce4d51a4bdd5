"""What is told of a pass: every operator, with all tensors that it reads and returns."""

import torch

from eval.device.following import Call, Following


def test_each_operator_is_told_with_what_it_reads_and_returns():
    told: list[tuple[str, list[tuple[int, ...]], list[tuple[int, ...]]]] = []

    def note(call: Call) -> None:
        told.append((call.name, [tuple(tensor.shape) for tensor in call.read], [tuple(its.shape) for its in call.made]))

    with Following(note):
        torch.ones(2, 3).add_(1).split(1)
    torch.ones(5)
    assert told == [("ones", [], [(2, 3)]), ("add", [(2, 3)], [(2, 3)]), ("split", [(2, 3)], [(1, 3), (1, 3)])]
