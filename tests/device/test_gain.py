"""What half precision gains, by the times of a convolution."""

import time

import pytest
import torch
import torch.nn.functional as F

from eval.device.gain import half_precision_gain

CPU = torch.device("cpu")


class Processor:
    """Takes a known time for a convolution in each type; the first of each takes another, and some are disturbed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cold_s: tuple[float, float] = (0.1, 0.1), **seconds: float):
        self.now_s, self.types, self.seconds = 0.0, [], seconds
        self.cold_s = dict(zip(seconds, cold_s, strict=True))
        monkeypatch.setattr(time, "perf_counter", lambda: self.now_s)
        monkeypatch.setattr(F, "conv2d", self.convolve)

    def convolve(self, x: torch.Tensor, _weight: torch.Tensor, padding: int) -> None:
        assert padding == 1
        dtype = str(x.dtype).removeprefix("torch.")
        warm_s = self.seconds[dtype] * (5.0 if len(self.types) in (1, 7) else 1.0)
        self.now_s += warm_s if dtype in self.types else self.cold_s[dtype]
        self.types.append(dtype)


@pytest.mark.parametrize(("half_s", "gain"), [(0.001, 2.0), (0.002, 1.0), (0.016, 0.125)])
def test_the_gain_is_the_ratio_of_undisturbed_times(monkeypatch, half_s: float, gain: float):
    Processor(monkeypatch, float32=0.002, bfloat16=half_s)
    assert half_precision_gain(CPU, "bf16") == pytest.approx(gain)


@pytest.mark.parametrize(("cold_s", "half_s", "gain"), [((0.6, 0.15), 0.006, 1 / 3), ((0.11, 0.12), 0.0005, 4.0)])
def test_first_calls_do_not_count_however_long_they_are(
    monkeypatch, cold_s: tuple[float, float], half_s: float, gain: float
):
    """A first call loads a library, or compiles a kernel: that says nothing of the second one."""
    Processor(monkeypatch, cold_s, float32=0.002, bfloat16=half_s)
    assert half_precision_gain(CPU, "bf16") == pytest.approx(gain)


def test_one_disturbed_call_decides_nothing(monkeypatch):
    """A call that takes as long as a turn, and twice as long as the others, is not the only one."""
    half, processor = iter([0.5, *[0.05, 0.025, 0.03] * 2]), Processor(monkeypatch, float32=0.002, bfloat16=0.025)

    def convolve(x: torch.Tensor, weight: torch.Tensor, padding: int) -> None:
        if x.dtype == torch.bfloat16:
            processor.now_s += next(half, 0.05)
        else:
            processor.convolve(x, weight, padding=padding)

    monkeypatch.setattr(F, "conv2d", convolve)
    assert half_precision_gain(CPU, "bf16") == pytest.approx(0.002 / 0.025)


def test_a_slow_one_is_not_waited_for(monkeypatch):
    processor = Processor(monkeypatch, float32=0.002, float16=1.0)
    assert half_precision_gain(CPU, "fp16") == pytest.approx(0.002)
    assert processor.types.count("float16") == 4


def test_it_runs_on_this_machine():
    half_precision_gain(CPU, "bf16")


def test_a_gpu_is_given_more_than_the_start_of_a_kernel(monkeypatch):
    """The meta device stands for a GPU: shapes are all that is looked at."""
    batches = set()
    monkeypatch.setattr(F, "conv2d", lambda x, _weight, padding: batches.add((x.device.type, x.shape[0])))
    for device in (CPU, torch.device("meta")):
        half_precision_gain(device, "bf16")
    assert batches == {("cpu", 1), ("meta", 64)}
