"""What half precision gains, by the times of a convolution."""

import time

import pytest
import torch
import torch.nn.functional as F

from eval.device.gain import half_precision_gain

CPU = torch.device("cpu")


class Processor:
    """Takes a known time for a convolution in each type; the first ones take longer, and others are disturbed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.now_s, self.calls, self.seconds = 0.0, 0, seconds
        monkeypatch.setattr(time, "perf_counter", lambda: self.now_s)
        monkeypatch.setattr(F, "conv2d", self.convolve)

    def convolve(self, x: torch.Tensor, _weight: torch.Tensor, padding: int) -> None:
        assert padding == 1
        disturbed = 5.0 if self.calls in (0, 1, 7) else 1.0
        self.now_s += self.seconds[str(x.dtype).removeprefix("torch.")] * disturbed
        self.calls += 1


@pytest.mark.parametrize(("half_s", "gain"), [(0.001, 2.0), (0.002, 1.0), (0.016, 0.125)])
def test_the_gain_is_the_ratio_of_undisturbed_times(monkeypatch, half_s: float, gain: float):
    Processor(monkeypatch, float32=0.002, bfloat16=half_s)
    assert half_precision_gain(CPU, "bf16") == pytest.approx(gain)


def test_a_slow_one_is_not_waited_for(monkeypatch):
    processor = Processor(monkeypatch, float32=0.002, float16=1.0)
    assert half_precision_gain(CPU, "fp16") == pytest.approx(0.002)
    assert processor.calls == 2


def test_it_runs_on_this_machine():
    half_precision_gain(CPU, "bf16")


def test_a_gpu_is_given_more_than_the_start_of_a_kernel(monkeypatch):
    """The meta device stands for a GPU: shapes are all that is looked at."""
    batches = []
    monkeypatch.setattr(F, "conv2d", lambda x, _weight, padding: batches.append(x.shape[0]))
    for device in (CPU, torch.device("meta")):
        half_precision_gain(device, "bf16")
    assert set(batches[: len(batches) // 2]) == {1}
    assert set(batches[len(batches) // 2 :]) == {64}
