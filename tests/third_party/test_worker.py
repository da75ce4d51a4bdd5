"""What a worker says of the outputs of a network, in this process."""

import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.overrides import _get_current_function_mode

from eval.device.numerics import cudnn_switches
from eval.third_party.shims.cuda import OnCpu
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


@pytest.mark.parametrize(
    "error",
    [
        AssertionError("Torch not compiled with CUDA enabled"),
        # Of a torch with CUDA, which a plain pip install brings on Linux, or with HIP.
        RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
        RuntimeError("No CUDA GPUs are available"),
        RuntimeError("No HIP GPUs are available"),
    ],
)
def test_a_forward_that_asks_for_a_gpu_runs_on_the_cpu_whatever_torch_is_installed(error: Exception):
    def forward(x: torch.Tensor) -> torch.Tensor:
        if not isinstance(_get_current_function_mode(), OnCpu):
            raise error
        return x + torch.ones(1, device="cuda:0")

    worker = Worker()
    worker.loaded, worker.lr = SimpleNamespace(device=torch.device("cpu"), forward=forward), torch.zeros(1, 3, 2, 2)
    assert worker.answer(Message({"op": "go"})).header == {"shape": [1, 3, 2, 2], "dtype": "float32"}
    assert 'device="cuda" on a CPU' in worker.notes


def test_another_error_of_a_forward_is_told_as_it_is():
    def forward(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    worker = Worker()
    worker.loaded, worker.lr = SimpleNamespace(device=torch.device("cpu"), forward=forward), torch.zeros(1, 3, 2, 2)
    assert "mat1 and mat2" in worker.answer(Message({"op": "go"})).header["fault"]["text"]
    assert worker.mode is None


class Failing(Worker):
    """Fails at whatever it is asked for."""

    def _go(self, _request: Message) -> Message:
        given = f"{os.environ.pop('ESR_SCRATCH')}/given"
        raise ValueError(f"{given}/code/net.py and {given}/checkpoint/w.pth, {given}/models/team01.py")


def test_a_fault_names_files_as_they_are_called_where_they_came_from(monkeypatch, tmp_path):
    monkeypatch.setenv("ESR_SCRATCH", str(tmp_path))
    fault = Failing().answer(Message({"op": "go"})).header["fault"]
    assert fault["text"] == "ValueError: net.py and w.pth, models/team01.py"
    assert str(tmp_path) not in fault["trace"]


def test_a_gpu_that_the_sandbox_does_not_have_is_no_fault_of_the_network(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asked = {"op": "load", "threads": torch.get_num_threads(), "tf32": False, "as_template": True, "device": "cuda"}
    with cudnn_switches(False):
        fault = Worker().answer(Message(asked)).header["fault"]
    assert fault["state"] == "missing dependency"
    assert fault["text"].startswith("--device cuda: the sandbox has no GPU: torch finds none there; use --device cpu")
