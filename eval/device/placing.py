"""Which devices there are, and working on one: whatever is special to CUDA or MPS is in this folder."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from eval.config import AUTO
from eval.errors import UsageError

DEVICES = (AUTO, "cuda", "cpu", "mps")
# By which a process reaches GPUs: of AMD; of NVIDIA, in WSL too, which has one for all makes.
GPU_FILES = ("/dev/kfd", "/dev/dri/renderD*") if torch.version.hip else ("/dev/nvidia*", "/dev/dxg")


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the best one here, in the order cuda, mps, cpu.

    Raises:
        UsageError: the name is unknown, or this machine has no such device.
    """
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"--device {name}: expected one of {', '.join(DEVICES)}, or cuda:N")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if kind == AUTO:
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available[kind] or (number and int(number) >= torch.cuda.device_count()):
        here = ", ".join(kind for kind, usable in available.items() if usable)
        raise UsageError(f"--device {name}: not available; this machine has {here}")
    return torch.device(name)


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current one for a block of code: streams, events and graphs belong to the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def finish(device: torch.device) -> None:
    """Wait until a device has done all that was queued; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def is_usable(device: torch.device) -> bool:
    """Tell whether this process can go on with a device: after some errors of CUDA all that it is asked for fails."""
    try:
        finish(device)
    except RuntimeError:
        return False
    return True


def release(device: torch.device) -> None:
    """Give the memory that the device's allocator holds back, so that nothing depends on what ran before."""
    if device.type == "cuda":
        with current(device):
            torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def threads_set(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads for a block of code; None leaves it as it is."""
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


def gpu_name(device: torch.device) -> str | None:
    """Return the name of an NVIDIA or AMD GPU; None for another device, and for one that is not in this machine."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" and torch.cuda.is_available() else None


def gpu_files() -> list[Path]:
    """Return the device files by which a process reaches this machine's GPUs."""
    return sorted(path for pattern in GPU_FILES for path in Path("/").glob(pattern[1:]))


def equal_gpus(device: torch.device) -> list[str]:
    """Return the GPUs of the kind of the first one, as ``CUDA_VISIBLE_DEVICES`` names them, for work that asks for any.

    None for a device that is named by its number, or is no GPU.
    """
    if device.type != "cuda" or device.index is not None:
        return []
    all_here = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    alike = [gpu for gpu in all_here if gpu_name(gpu) == gpu_name(device)]
    names = [worker_gpu(gpu)[1] for gpu in alike]
    return [name for name in names if name is not None]


def worker_gpu(device: torch.device) -> tuple[str, str | None]:
    """Return the device as a process names it that is to see this GPU alone, and its ``CUDA_VISIBLE_DEVICES``."""
    # This process's own numbers the devices that it sees.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device.type != "cuda":
        return str(device), visible
    index = device.index or 0
    listed = visible.split(",") if visible else []
    return "cuda", listed[index].strip() if index < len(listed) else str(index)
