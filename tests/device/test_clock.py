"""The clock is read around the forward pass, when the device has finished, and says milliseconds."""

import time
from types import SimpleNamespace

import pytest
import torch

from eval.device.clock import timed


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, in order; the clock moves by 2.5 ms each time that it is read."""
    told: list[str] = []

    def clock() -> int:
        told.append("clock")
        return 1_000_000 + 2_500_000 * told.count("clock")

    monkeypatch.setattr(time, "perf_counter_ns", clock)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: told.append("finished"))
    return told


@pytest.mark.parametrize(
    ("device", "order", "expected_ms"),
    [
        ("cpu", ["clock", "forward", "clock"], 2.5),
        ("mps", ["finished", "clock", "forward", "finished", "clock"], 2.5),
    ],
)
def test_what_is_timed_is_the_forward_alone(told: list[str], device: str, order: list[str], expected_ms: float):
    x = SimpleNamespace(device=torch.device(device))
    output, runtime_ms = timed(lambda given: told.append("forward") or given, x)
    assert output is x
    assert told == order
    assert runtime_ms == expected_ms
