"""What a run depended on: versions, machine, numeric switches."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch

from eval.device.memory import keeps_freed_memory
from eval.device.numerics import convolutions_take_tf32, products_take_tf32
from eval.device.nvml import driver_version, open_gpu
from eval.device.placing import gpu_name
from eval.files import PROJECT
from eval.records.environment import Environment, MachineState


def describe_environment(device: torch.device) -> Environment:
    """Read the environment as it is now; call it with the run's numeric switches set."""
    on_cuda = device.type == "cuda"
    return Environment(
        commit=commit(),
        platform=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        opencv=cv2.__version__,
        fvcore=version("fvcore"),
        cpu=cpu_name(),
        gpu=_gpu_name(device),
        cuda=torch.version.cuda if on_cuda else None,
        cudnn=torch.backends.cudnn.version() if on_cuda else None,
        driver=driver_version() if on_cuda else None,
        threads=torch.get_num_threads(),
        cudnn_benchmark=torch.backends.cudnn.benchmark,
        cudnn_tf32=convolutions_take_tf32(),
        matmul_tf32=products_take_tf32(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        keeps_freed_memory=keeps_freed_memory(),
        instructions=instructions(),
    )


def machine_state(device: torch.device) -> MachineState:
    """Read load, clocks and temperature as they are now."""
    gpu = open_gpu(device)
    return MachineState(
        load_1min=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        cpu_mhz=_cpu_mhz(),
        gpu_mhz=gpu and gpu.clock_mhz(),
        gpu_temperature_c=gpu and gpu.temperature_c(),
        gpu_power_limit_w=gpu and gpu.power_limit_w(),
        gpu_throttling=gpu and gpu.throttling(),
    )


def _cpu_mhz() -> float | None:
    """Return the processor's clock; None where a system has none to tell, for it is but a note."""
    try:
        frequency = psutil.cpu_freq()
    except (AttributeError, NotImplementedError, OSError, ValueError, RuntimeError):
        return None
    return frequency.current if frequency else None


@cache
def commit() -> str | None:
    """Return the project's commit, with "+changes" where tracked files differ from it; None outside git.

    A repository that the project lies in, as a copy, is not its own. It is asked for once a process: at its start, by
    which its code was imported.
    """
    git = ("git", "-C", str(PROJECT))
    top = _answer(*git, "rev-parse", "--show-toplevel")
    if top is None or not os.path.exists(top) or not os.path.samefile(top, PROJECT):
        return None
    return _answer(*git, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes")


def _answer(*command: str) -> str | None:
    """Return what a program prints; None where it cannot be run."""
    try:
        told = subprocess.run(command, capture_output=True, check=True, timeout=10).stdout
        # A path of git's is bytes of the file system, whatever the locale.
        return os.fsdecode(told).strip()
    except (OSError, subprocess.SubprocessError):
        return None


def device_name(device: torch.device) -> str:
    """Return what a device is: the name of the GPU, or of the CPU with its instructions."""
    return _gpu_name(device) or ", ".join(filter(None, (cpu_name(), instructions())))


def instructions() -> str | None:
    """Return which of an x86 processor's instructions torch takes, as in "AVX512, AMX"; None for any other."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    matrix_units = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    # The library of convolutions obeys a limit of its own, which neither of the two knows.
    limit = next(filter(None, map(os.environ.get, ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))), None)
    known = [torch.backends.cpu.get_cpu_capability(), "AMX" * matrix_units, f"oneDNN at most {limit}" if limit else ""]
    return ", ".join(filter(None, known))


def _gpu_name(device: torch.device) -> str | None:
    """Return a GPU's name; that of an Apple chip is the chip's, whose CPU is another device."""
    if device.type == "cuda":
        return gpu_name(device)
    return None if device.type == "cpu" else f"{cpu_name()}, {device.type.upper()}"


@cache
def cpu_name() -> str:
    """Return the processor's name as its system tells it; Python's own is "arm" for every Apple chip."""
    if sys.platform == "darwin":
        return _answer("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    if sys.platform == "win32":
        import winreg

        # What Python tells is family, model and stepping, which several processors share.
        place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as processor:
            return str(winreg.QueryValueEx(processor, "ProcessorNameString")[0]).strip()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" in facts:
        return _told_apart(facts)
    parts = [facts[key] for key in ("CPU implementer", "CPU part") if key in facts]
    return " ".join((platform.machine(), *parts))


def _told_apart(facts: Mapping[str, str]) -> str:
    """Return the name of an x86 processor; with family and model where a cloud hides which one it is.

    "AMD EPYC" alone is several generations, and "Intel(R) Xeon(R) Processor @ 2.60GHz" as many.
    """
    name = facts["model name"]
    kind = [f"{word} {facts[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in facts]
    says_which = re.search(r"\d", name.partition("@")[0])
    return name if says_which or not kind else f"{name} ({', '.join(kind)})"
