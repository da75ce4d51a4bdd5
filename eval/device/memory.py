"""Memory: the peak of a run, and what a network will need before it runs."""

import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from eval.device.following import Call, Following
from eval.device.groups import free_bytes

MIB = 1024**2
# The names and values of glibc's mallopt parameters.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_INT = 2**31 - 1
_kept: list[bool] = []
_SAMPLE_INTERVAL_S = 0.005
_PROBE_SIDE = 64


@dataclass
class PeakMemory:
    """The peak of a block of code, and how it was taken; ``mib`` is None until the block ends."""

    method: str
    mib: float | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Measure the peak memory of a block of code.

    On CUDA it is the peak of allocated device memory, reset at the start (the challenge's template never resets it).
    On MPS it is what the driver holds for this process at the end: its allocator keeps what was used, and counts no
    peak. Elsewhere it is how far the process's resident set rose above its level at the start: by the kernel's own
    high-water mark where it can be reset (Linux), else sampled every 5 ms.
    """
    if device.type == "cuda":
        reset_device_peak(device)
        peak = PeakMemory("CUDA allocator, peak reset before the set")
        yield peak
        peak.mib = device_peak_mib(device)
        return
    if device.type == "mps":
        torch.mps.empty_cache()
        peak = PeakMemory("held by the driver of MPS after the set, which keeps what was used")
        yield peak
        peak.mib = torch.mps.driver_allocated_memory() / MIB
        return
    return_free_memory()
    if (before := reset_high_water(own := os.getpid())) is not None:
        peak = PeakMemory("resident set above the level before the set, high-water mark")
        yield peak
        mark = high_water(own)
        peak.mib = None if mark is None else max(mark - before, 0) / MIB
        return
    before = psutil.Process().memory_info().rss
    peak = PeakMemory("resident set above the level before the set, sampled every 5 ms")
    with _sampled() as samples:
        yield peak
    peak.mib = max(max(samples) - before, 0) / MIB


def reset_device_peak(device: torch.device) -> None:
    """Let the peak of a GPU's allocated memory begin now."""
    torch.cuda.reset_peak_memory_stats(device)


def device_peak_mib(device: torch.device) -> float:
    """Return the peak of a GPU's allocated memory in this process."""
    return torch.cuda.max_memory_allocated(device) / MIB


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next forward, in this process from now on; elsewhere do nothing.

    By default a large tensor's pages go back to the system when it is freed, and the next forward has them zeroed
    and mapped again: on two cores a fifth of PFDNLite's runtime, and most of its noise (docs/measuring.md). Threads
    share one arena, for those of their own give back what they do not need at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        settings = ((_M_MMAP_THRESHOLD, _LARGEST_INT), (_M_TRIM_THRESHOLD, _LARGEST_INT), (_M_ARENA_MAX, 1))
        _kept.append(all(mallopt(name, value) == 1 for name, value in settings))


def freeze_imports() -> None:
    """Leave what is alive now, modules above all, out of garbage collections: with torch a full one takes 70 ms.

    Measuring a peak begins with one, for every model and set. Only the first call in a process does it: later ones
    would find networks, which must not stay for ever.
    """
    if gc.get_freeze_count() == 0:
        gc.freeze()


def keeps_freed_memory() -> bool:
    """Tell whether ``keep_freed_memory`` was called here, and took effect."""
    return any(_kept)


def return_free_memory() -> None:
    """Give back what former runs freed (glibc keeps it), so that it does not hide what this one takes."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def reset_high_water(pid: int) -> int | None:
    """Make Linux forget a process's peak; return its resident bytes now, or None if it may not be done."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        return psutil.Process(pid).memory_info().rss
    except (OSError, psutil.Error):
        return None


def high_water(pid: int) -> int | None:
    """Return the most bytes that a process had in memory since its peak was reset, or None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


@contextmanager
def _sampled() -> Iterator[list[int]]:
    """Collect the resident set's size from a thread while the block runs."""
    process, stop = psutil.Process(), threading.Event()
    samples = [process.memory_info().rss]

    def sample() -> None:
        while not stop.wait(_SAMPLE_INTERVAL_S):
            samples.append(process.memory_info().rss)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
        samples.append(process.memory_info().rss)


def live_bytes_per_pixel(network: nn.Module) -> float:
    """Return the peak of bytes that a network's own tensors occupy, per LR pixel, on a small probe on the CPU."""
    alive: dict[StorageWeakRef, int] = {}
    peak = 0

    def note(call: Call) -> None:
        nonlocal alive, peak
        alive |= {StorageWeakRef(its): its.nbytes() for its in (tensor.untyped_storage() for tensor in call.made)}
        alive = {ref: size for ref, size in alive.items() if not ref.expired()}
        peak = max(peak, sum(alive.values()))

    with Following(note), torch.no_grad():
        network(torch.zeros(1, 3, _PROBE_SIDE, _PROBE_SIDE, dtype=torch.float32, device="cpu"))
    return peak / _PROBE_SIDE**2


def available_bytes(device: torch.device) -> int:
    """Return the memory that is free on a device now, what its allocator holds without need included."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    free = min([psutil.virtual_memory().available, *free_bytes()])
    if device.type == "mps":
        # It shares the machine's memory, and its driver may give out more than it recommends.
        return max(0, min(free, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()))
    return free
