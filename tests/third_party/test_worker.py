"""What a worker says of the outputs of a network, in this process."""

import pytest
import torch
from torch import nn

from eval.third_party.worker import Worker


class Own(torch.Tensor):
    """A tensor that may do anything when it is asked for its values."""


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (torch.zeros(1, 3, 8, 8), "float32"),
        (
            nn.Parameter(torch.zeros(1, 3, 8, 8)),
            "Parameter, a subclass of torch.Tensor, float32 (1, 3, 8, 8); return",
        ),
        (torch.zeros(1, 3, 8, 8).as_subclass(Own), "Own, a subclass of torch.Tensor, float32 (1, 3, 8, 8); return"),
        ([torch.zeros(1, 3, 8, 8)], "a list of 1: float32 (1, 3, 8, 8); return the x4 image alone"),
    ],
)
def test_an_output_that_is_no_plain_tensor_is_told_by_what_it_is(output: object, told: str):
    worker = Worker()
    worker.lr, worker.sr = torch.zeros(1, 3, 2, 2), output
    found = worker._output_told()
    assert found["dtype"].startswith(told)
    assert found["shape"] == ([1, 3, 8, 8] if type(output) is torch.Tensor else [])
    advice = "return a plain tensor: sr.detach().as_subclass(torch.Tensor)"
    assert (advice in found["dtype"]) == (isinstance(output, torch.Tensor) and type(output) is not torch.Tensor)
    if advice in found["dtype"]:
        assert type(output.detach().as_subclass(torch.Tensor)) is torch.Tensor
