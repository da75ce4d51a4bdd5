"""A step that is recorded: what is called, in which order, and that each call counts once."""

import weakref
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from eval.device.graphs import Recorder, ReplayedStep
from eval.errors import EngineError
from eval.inference.engines import cuda_graphs, precision
from tests.device.fake_cuda import FakeCuda

GPU = torch.device("cuda", 1)


def test_a_step_runs_thrice_on_another_stream_then_is_recorded_once_and_replayed(monkeypatch):
    cuda, seen = FakeCuda(monkeypatch), []

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        cuda.say(f"run of {x.item():g} {y.item():g}")
        seen.append(x)
        return x + y

    step = ReplayedStep(run, GPU)
    results = [step(torch.tensor(float(call)), torch.tensor(0.5)).item() for call in range(5)]
    as_it_is = ["side waits for main on 1", "in side on 1", "run of {} 0.5 on 1", "out of side on 1"]
    warm_up = [line.format(call) for call in range(3) for line in [*as_it_is, "main waits for side on 1"]]
    recorded = ["capture pool1 side thread_local on 1", "run of 3 0.5 on 1", "captured on 1", "replay on 1"]
    assert cuda.calls == ["new stream on 1", *warm_up, *recorded, "replay on 1"]
    assert results[:4] == [0.5, 1.5, 2.5, 3.5]
    # A replay reads the tensors that were recorded, into which the new ones were copied.
    assert seen[-1].item() == 4.0
    assert len(seen) == 4


@pytest.mark.parametrize("kind", ["step", "forward"])
def test_a_recording_that_fails_leaves_stream_and_memory_as_they_were(monkeypatch, kind: str):
    """Else every later kernel of the process would run aside, and giving memory back would fail."""
    cuda = FakeCuda(monkeypatch)
    cuda.broken_captures = 1
    x = torch.zeros(1, 3, 4, 4)
    recorded = ReplayedStep(lambda given: given, GPU) if kind == "step" else partial(Recorder(GPU).record, lambda x: x)
    for _ in range(3 if kind == "step" else 0):
        recorded(x)
    with pytest.raises(RuntimeError, match="during capture"):
        recorded(x)
    assert cuda.stream_now == "main"
    assert cuda.calls[-2:] == ["end of pool pool1 of 1 on 1", "release of pool pool1 of 1 on 1"]
    # The next one records into a pool that nothing has given up, and those after it into the same.
    for _ in range(2):
        recorded(x)
    pools = [call.split()[1] for call in cuda.calls if call.startswith("capture ")]
    assert pools == (["pool1", "pool2"] if kind == "step" else ["pool1", "pool2", "pool2"])


def test_inputs_of_another_number_are_no_replay(monkeypatch):
    FakeCuda(monkeypatch)
    step = ReplayedStep(lambda *given: given[0], GPU)
    for _ in range(4):
        step(torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="argument"):
        step(torch.zeros(1))


class KeepsAGrid(nn.Module):
    """Keeps a tensor for the size at hand, which the next size replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.grid = torch.zeros(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.grid.shape != x.shape:
            self.grid = torch.ones_like(x)
            GRIDS.append(weakref.ref(self.grid))
        return x * self.weight + self.grid


GRIDS: list[weakref.ref] = []


@pytest.fixture
def cuda(monkeypatch) -> FakeCuda:
    """Recording, on a GPU to which no network can be moved here: channels-last copies stay where they are."""
    monkeypatch.setattr(cuda_graphs, "available_bytes", lambda _device: 2**30)
    monkeypatch.setattr(cuda_graphs.channels_last, "prepare", lambda network, *_: deepcopy(network))
    return FakeCuda(monkeypatch)


def test_what_a_network_keeps_for_a_size_lives_as_long_as_the_recording_that_reads_it(cuda: FakeCuda):
    forward = cuda_graphs.prepare(KeepsAGrid(), GPU, "fp32")
    GRIDS.clear()
    for side in (4, 6):
        forward(torch.ones(1, 3, side, side))
    assert [grid() is not None for grid in GRIDS] == [True, True]


def test_a_network_is_brought_to_its_precision_once_and_not_under_the_clock(cuda: FakeCuda, monkeypatch):
    copied = []
    monkeypatch.setattr(cuda_graphs.channels_last, "prepare", lambda *given: copied.append(given) or deepcopy(given[0]))
    forward = cuda_graphs.prepare(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)), GPU, "bf16")
    monkeypatch.setattr(precision, "_run_probe", lambda *_: pytest.fail("prepared while an image is timed"))
    for side in (4, 6):
        forward(torch.ones(1, 3, side, side))
    assert len({id(network) for network, *_ in copied}) == 1
    assert {(network[0].weight.dtype, its) for network, _, its in copied} == {(torch.bfloat16, "fp32")}


class Failing(nn.Module):
    """Fails from one of its runs on; the fourth one is recorded."""

    def __init__(self, error: BaseException | None, first: int = 4) -> None:
        super().__init__()
        self.error, self.left = error, first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.error is not None and self.left < 1:
            raise self.error
        return x


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("CUDA error: operation not permitted"), "CUDA error: operation not permitted"),
        # What the network has caught itself.
        (None, "CUDA error: operation failed due to a previous error during capture"),
    ],
)
def test_a_network_that_cannot_be_recorded_is_no_failure_of_the_device(cuda: FakeCuda, error, reason: str):
    cuda.broken_captures = 1
    told = f"--engine cuda-graphs: cannot be recorded as a CUDA graph: RuntimeError: {reason}; use --engine channels"
    with pytest.raises(EngineError, match=told):
        cuda_graphs.prepare(Failing(error), GPU, "fp32")(torch.ones(1, 3, 4, 4))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()])
def test_what_ends_a_recording_besides_is_what_it_is(cuda: FakeCuda, error: BaseException):
    cuda.broken_captures = 1
    with pytest.raises(type(error)):
        cuda_graphs.prepare(Failing(error), GPU, "fp32")(torch.ones(1, 3, 4, 4))


def test_an_error_before_anything_is_recorded_is_the_networks(cuda: FakeCuda):
    with pytest.raises(RuntimeError, match=r"^the size does not fit$"):
        cuda_graphs.prepare(Failing(RuntimeError("the size does not fit"), 1), GPU, "fp32")(torch.ones(1, 3, 4, 4))
