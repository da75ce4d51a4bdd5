"""Peaks of known allocations."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval import memory
from eval.memory import freeze_imports, live_bytes_per_pixel, peak_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize("high_water_mark", [True, False])
def test_peak_sees_an_allocation_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch, high_water_mark: bool):
    if not high_water_mark:
        monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    with peak_memory(CPU) as peak:
        block = np.ones(200 * 2**20, np.uint8)
        for _ in range(30):
            block += 1
        del block
    assert peak.mib == pytest.approx(200, abs=40)
    assert ("high-water mark" in peak.method) or not high_water_mark


def test_peak_of_one_run_is_not_that_of_the_run_before():
    with peak_memory(CPU) as large:
        np.ones(200 * 2**20, np.uint8)
    with peak_memory(CPU) as small:
        np.ones(20 * 2**20, np.uint8)
    assert large.mib > 150
    assert small.mib < 100


class Chain(nn.Module):
    """Holds at most three tensors of 8 channels at once, beside the input of 3: a step's input, output, the first."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.new_zeros(1, 8, *x.shape[-2:])
        out = first
        for _ in range(5):
            out = out + 1
        return out + first


def test_live_bytes_by_hand():
    assert live_bytes_per_pixel(Chain()) == (3 * 8 + 3) * 4


def test_only_the_first_call_freezes_so_networks_can_go():
    class Ring:
        """Garbage that only a collection finds."""

        def __init__(self) -> None:
            self.itself = self

    gc.unfreeze()
    try:
        freeze_imports()
        frozen = gc.get_freeze_count()
        assert frozen > 10_000
        gone = weakref.ref(Ring())
        freeze_imports()
        assert gc.get_freeze_count() == frozen
        gc.collect()
        assert gone() is None
    finally:
        gc.unfreeze()
