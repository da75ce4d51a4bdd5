"""Peaks of known allocations."""

import gc
import weakref
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval.device import memory
from eval.device.memory import (
    available_bytes,
    freeze_imports,
    keep_freed_memory,
    keeps_freed_memory,
    live_bytes_per_pixel,
    peak_memory,
    return_free_memory,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("high_water_mark", [True, False])
def test_peak_sees_an_allocation_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch, high_water_mark: bool):
    if not high_water_mark:
        monkeypatch.setattr(memory, "reset_high_water", lambda _: None)
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


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


def test_only_the_first_call_freezes_so_networks_can_go():
    gc.unfreeze()
    try:
        freeze_imports()
        frozen = gc.get_freeze_count()
        assert frozen > 10_000
        gone = weakref.ref(Ring())
        freeze_imports()
        # Fewer where one that was frozen has gone since.
        assert gc.get_freeze_count() <= frozen
        gc.collect()
        assert gone() is None
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(("mark_mib", "expected"), [(350, 250.0), (90, 0.0)])
def test_the_peak_is_the_mark_less_the_level_before_in_mebibytes(
    monkeypatch: pytest.MonkeyPatch, mark_mib: int, expected: float
):
    monkeypatch.setattr(memory, "reset_high_water", lambda _: 100 * 2**20)
    monkeypatch.setattr(memory, "high_water", lambda _: mark_mib * 2**20)
    with peak_memory(CPU) as peak:
        assert peak.mib is None
    assert peak.mib == expected


def test_the_highest_sample_counts_where_there_is_no_mark(monkeypatch: pytest.MonkeyPatch):
    levels = iter([100, 130, 180, 120])
    monkeypatch.setattr(memory, "reset_high_water", lambda _: None)
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=next(levels) * 2**20))
    monkeypatch.setattr(memory.psutil, "Process", lambda: process)
    monkeypatch.setattr(memory, "_sampled", lambda: nullcontext([next(levels) * 2**20 for _ in range(3)]))
    with peak_memory(CPU) as peak:
        pass
    assert peak.mib == 80.0


def test_a_gpus_peak_begins_with_the_block(monkeypatch: pytest.MonkeyPatch):
    told = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: told.append(f"reset {device}"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: told.append(f"read {device}") or 3 * 2**20)
    with peak_memory(torch.device("cuda:1")) as peak:
        told.append("work")
    assert told == ["reset cuda:1", "work", "read cuda:1"]
    assert peak.mib == 3.0


def test_on_mps_the_drivers_figures_are_reported(monkeypatch: pytest.MonkeyPatch):
    held = iter([300 * memory.MIB, 5 * memory.MIB])
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: next(held))
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 25 * memory.MIB)
    with peak_memory(torch.device("mps")) as peak:
        pass
    assert peak.mib == 300
    assert "MPS" in peak.method
    assert available_bytes(torch.device("mps")) == 20 * memory.MIB


@pytest.mark.parametrize(("taken_mib", "free_mib", "expected"), [(28, 9, 0), (5, 9, 9), (20, 9, 5)])
def test_memory_that_mps_shares_is_never_less_than_none(
    monkeypatch: pytest.MonkeyPatch, taken_mib: int, free_mib: int, expected: int
):
    """Less than nothing was taken for enough to hold whole images."""
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 25 * memory.MIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: taken_mib * memory.MIB)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=free_mib * memory.MIB))
    monkeypatch.setattr(memory, "free_bytes", lambda: iter(()))
    assert available_bytes(torch.device("mps")) == expected * memory.MIB


def test_what_is_free_is_what_a_device_can_still_give(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=7, total=11))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (5, 13))
    monkeypatch.setattr(memory, "free_bytes", lambda: iter(()))
    # What torch's allocator holds and nobody uses can be given, too.
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 6)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 2)
    assert (available_bytes(CPU), available_bytes(torch.device("cuda"))) == (7, 9)


@pytest.mark.parametrize(("answers", "keeps"), [((1, 1, 1), True), ((1, 0), False), ((0,), False)])
def test_memory_is_kept_if_all_settings_were_taken(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[int, ...], keeps: bool
):
    given = iter(answers)
    asked = []
    library = SimpleNamespace(mallopt=lambda name, value: asked.append((name, value)) or next(given))
    monkeypatch.setattr(memory, "_kept", [])
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _name: library)
    assert keeps_freed_memory() is False
    keep_freed_memory()
    assert keeps_freed_memory() is keeps
    # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX of glibc's malloc.h.
    assert asked == [(-3, 2**31 - 1), (-1, 2**31 - 1), (-8, 1)][: len(answers)]


def test_garbage_is_given_back_before_a_peak_is_taken():
    gone = weakref.ref(Ring())
    return_free_memory()
    assert gone() is None
