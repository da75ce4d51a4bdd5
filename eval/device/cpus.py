"""How many processors this process may use: fewer than the machine has where a container or a user limits it."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Return the processors that this process may use: by its affinity and its control groups' quota, rounded up."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([affinity, *_quotas(_CGROUPS, _OWN_CGROUPS)])))


def _quotas(root: Path, own: Path) -> Iterator[float]:
    """Yield the processors that each control group above this process allows, of version 2 and of version 1."""
    for line in _read(own).splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        folders = [root, root / "cpu"] if controllers else [root]
        inner = Path(group.lstrip("/"))
        for folder in [base / part for base in folders for part in (inner, *inner.parents)]:
            quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
            yield from _share(quota, period)
            yield from _share(_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip())


def _share(quota: str, period: str) -> Iterator[float]:
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
