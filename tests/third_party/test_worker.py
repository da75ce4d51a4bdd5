"""What a worker says of the outputs of a network, in this process."""

import os

import pytest
import torch
from torch import nn

from eval.third_party.wire import Message
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


class Failing(Worker):
    """Fails at whatever it is asked for."""

    def _go(self, _request: Message) -> Message:
        given = f"{os.environ['ESR_SCRATCH']}/given"
        raise ValueError(f"{given}/code/net.py and {given}/checkpoint/w.pth, {given}/models/team01.py")


def test_a_fault_names_files_as_they_are_called_where_they_came_from(monkeypatch, tmp_path):
    monkeypatch.setenv("ESR_SCRATCH", str(tmp_path))
    fault = Failing().answer(Message({"op": "go"})).header["fault"]
    assert fault["text"] == "ValueError: net.py and w.pth, models/team01.py"
    assert str(tmp_path) not in fault["trace"]
