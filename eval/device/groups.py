"""What a container, or a user, lets this process have: by control groups of versions 1 and 2, in Linux's own files."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Return the processors that this process may use: by its affinity and its control groups' quota, rounded up."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([affinity, *cpu_quotas()])))


def cpu_quotas() -> Iterator[float]:
    """Yield the processors that each control group above this process allows."""
    for folder in _folders("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        yield from _share(quota, period)
        yield from _share(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def free_bytes() -> Iterator[int]:
    """Yield the memory that each control group above this process has left; files that can be dropped are free."""
    for folder in _folders("memory"):
        for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, taken = _read(folder / most), _read(folder / used)
            if limit.isdecimal() and taken.isdecimal():
                words = _read(folder / "memory.stat").split()
                droppable = dict(zip(words[::2], words[1::2], strict=False)).get("inactive_file", "0")
                yield max(0, int(limit) - int(taken) + int(droppable))


def own_groups() -> dict[str, str]:
    """Return the control group that this process is in by its controllers, as in "cpu,cpuacct"; "" for version 2."""
    lines = ([*line.split(":", 2), "", ""] for line in _read(_OWN).splitlines())
    return {controllers: group for _, controllers, group, *_ in lines}


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, and of those above them."""
    for controllers, group in own_groups().items():
        if controllers and controller not in controllers.split(","):
            continue
        inner = Path(group.lstrip("/"))
        for base in [_ROOT, _ROOT / controller] if controllers else [_ROOT]:
            yield from (base / part for part in (inner, *inner.parents))


def _share(quota: str, period: str) -> Iterator[float]:
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
