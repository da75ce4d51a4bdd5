"""Who uses the processor: the time that all processes have taken so far, and what each took between two looks."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import psutil

from eval.words import printable

# What processes of one name took, in s, by pid.
Used = Counter[int]


class Process(NamedTuple):
    """A process at a moment. ``spent_s`` is its processor time with that of the children it has waited for."""

    name: str
    parent: int
    spent_s: float


Look = Mapping[int, Process]


def look() -> Look:
    """Return all processes that can be seen; those whose time may not be read are left out."""
    found = {}
    for process in psutil.process_iter(["pid", "name", "ppid", "cpu_times"]):
        its = process.info
        if its["cpu_times"] is not None:
            found[its["pid"]] = Process(_plain(its["name"]), its["ppid"], spent_s(its["cpu_times"]))
    return found


def spent_s(times: object) -> float:
    """Return the processor time of a process and of the children that it has waited for, from psutil's figures."""
    return sum(getattr(times, kind, 0.0) for kind in ("user", "system", "children_user", "children_system"))


def with_descendants(seen: Look, pids: Iterable[int]) -> frozenset[int]:
    """Return processes and all that come from them."""
    children = defaultdict(list)
    for pid, process in seen.items():
        children[process.parent].append(pid)
    found, queue = set(), list(pids)
    while queue:
        pid = queue.pop()
        if pid not in found:
            found.add(pid)
            queue += children[pid]
    return frozenset(found)


def used_between(before: Look, after: Look, but: frozenset[int]) -> dict[str, Used]:
    """Return what processes took between two looks, by name and pid, without the processes ``but``.

    What a process took that began and ended between the looks is its parent's, who has waited for it.
    """
    waited_for: dict[int, float] = defaultdict(float)
    for pid in before.keys() - after.keys():
        waited_for[before[pid].parent] += before[pid].spent_s
    used: dict[str, Used] = defaultdict(Used)
    for pid, process in after.items():
        earlier_s = before[pid].spent_s if pid in before else 0.0
        if process.spent_s < earlier_s:
            # Another process has the number now.
            earlier_s = 0.0
        cpu_s = process.spent_s - earlier_s - waited_for[pid]
        if pid not in but and cpu_s > 0:
            # A Counter's values may be fractions, but its type says int.
            used[process.name][pid] = cpu_s  # pyright: ignore[reportArgumentType]
    return dict(used)


def name_of(pid: int) -> str | None:
    """Return a process's name; None if it cannot be seen."""
    try:
        return _plain(psutil.Process(pid).name())
    except psutil.Error:
        return None


def _plain(name: str | None) -> str:
    """Return a name without the number of a kernel's thread ("kworker/0:1") and what would not print."""
    return printable((name or "?").partition("/")[0])
