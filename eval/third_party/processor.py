"""The processor time of a third-party program, taken from outside, and the processors that it may use."""

import contextlib
import ctypes
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")


def spent_s(pid: int) -> float:
    """Return the processor time of all threads of a process, ended ones included, to the nanosecond; 0 if it is gone.

    Source: clock_getcpuclockid(3).
    """
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        return 0.0
    with contextlib.suppress(OSError):
        return time.clock_gettime(clock.value)
    return 0.0


def processors(threads: int) -> tuple[int, ...] | None:
    """Return the processors for a program of so many threads, each of another core where there are enough cores.

    None where there is nothing to choose: the program may use them all, or this system does not tell.
    """
    if not hasattr(os, "sched_getaffinity") or shutil.which("taskset") is None:
        return None
    usable = sorted(os.sched_getaffinity(0))
    if threads >= len(usable):
        return None
    # The first processors also serve the machine's interrupts.
    return tuple(sorted(sorted(usable, key=lambda cpu: (_place_in_core(cpu), -cpu))[:threads]))


def only_on(cpus: Sequence[int] | None) -> list[str]:
    """Return the command to put in front of another so that it and all that come from it run on these processors."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []


def _place_in_core(cpu: int) -> int:
    """Return how many processors come before this one in its core."""
    try:
        siblings = (_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return 0
    listed = [int(number) for part in siblings.split(",") for number in part.split("-")]
    return sum(number < cpu for number in listed)
