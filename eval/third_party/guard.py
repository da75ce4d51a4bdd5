"""The guard: counts the processes and the memory of a third-party program from outside, and kills it for too much."""

import contextlib
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from eval.third_party.processor import spent_s

MIB = 2**20
INTERVAL_S = 0.1
_PAGE_BYTES = mmap.PAGESIZE
# What a machine must keep free: memory that no process maps (files in memory, sockets) shows only there.
_RESERVE_SHARE = 1 / 32
_CHUNK_BYTES = 2**16
# What /proc answers about a process that has just ended.
_GONE = (FileNotFoundError, ProcessLookupError)
_DEAD, _STOPPED = (b"Z", b"X"), (b"T", b"t")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
# Until then even a program that makes new processes all the time has been stopped, if it can be at all.
_MOST_STOPS, _STOP_S = 200, 0.0005
# Libraries start some pools of a thread a core. More would let a swarm of forks keep the machine from ending it.
_THREADS, _THREADS_A_CORE = 64, 16


@dataclass(frozen=True)
class Limits:
    """What one third-party program may use.

    Attributes:
        memory_bytes: resident memory of all its processes together; of a page that two share, each has half.
        cpus: the processors that it may run on, None for all.
        scratch_bytes: any one file, and in bubblewrap all files in the scratch folder, which take memory, together.
        processes: processes at once.
        threads: threads of all its processes at once; by default in proportion to the machine's cores.
        cpu_s: processor time of any one process.
        log_bytes: the last bytes of its stdout and stderr that are kept.
    """

    memory_bytes: int = 8 * 2**30
    scratch_bytes: int = 2 * 2**30
    processes: int = 64
    threads: int = field(default_factory=lambda: _THREADS + _THREADS_A_CORE * (os.cpu_count() or 1))
    cpu_s: int = 7200
    log_bytes: int = 2**20
    cpus: tuple[int, ...] | None = None


class Process(NamedTuple):
    """A process at a moment; pid and ``start`` (ticks since boot) name it for good, as pids are used again.

    Attributes:
        waited_s: processor time of the children that it has waited for.
        runs: that it is not stopped.
    """

    pid: int
    start: int
    threads: int
    resident_bytes: int
    waited_s: float = 0.0
    runs: bool = True


class Used(NamedTuple):
    """The processor time in s of a program so far, and the processes that it has, if that of ended ones can be lost.

    That is where nobody counts it as a whole, and the parent does not care for its children.
    """

    cpu_s: float
    pids: frozenset[int] = frozenset()


def sees_processes() -> bool:
    """Tell whether this system shows processes as Linux does: elsewhere the guard knows of none, and holds none."""
    return _process(os.getpid()) is not None


class Guard:
    """Looks at a program ten times a second, and kills it when it is over its limits (on Linux)."""

    def __init__(self, pid: int, limits: Limits) -> None:
        """Guard the process ``pid``, which leads a process group, and all that come from it."""
        self.reason: str | None = None
        # That a process was seen to run since all were stopped.
        self.woken = self._stopped = False
        self._limits = limits
        self._root = pid
        root = _process(pid)
        self._known = {pid: root.start} if root else {}
        self._start = root.start if root else None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"guard of {pid}", daemon=True)
        self._thread.start()

    def look(self) -> list[Process]:
        """Return the program's processes now, a few more than its limit at most.

        A process once seen stays known when its parents are gone. Known ones come first, so that a swarm of new ones
        cannot hide them.
        """
        with self._lock:
            found = _with_descendants(self._alive(), self._limits.processes + 1)
            self._known = {process.pid: process.start for process in found}
            self.woken |= self._stopped and any(process.runs for process in found)
        return found

    def used(self) -> Used:
        """Return the processor time that the program has taken so far, with that of children that have ended."""
        found = self.look()
        ended = (child for process in found for child in _children(process) if _process(child) is None)
        taken_s = sum(map(_ticks_s, ended)) + sum(process.waited_s + spent_s(process.pid) for process in found)
        return Used(taken_s, frozenset(process.pid for process in found))

    def stop_all(self) -> bool:
        """Stop all processes of the program; False if they do not hold still: they can be killed then."""
        for _ in range(_MOST_STOPS):
            running = [process.pid for process in self.look() if process.runs]
            if not running:
                self.woken, self._stopped = False, True
                return True
            for pid in running:
                _send(os.kill, pid, signal.SIGSTOP)
            time.sleep(_STOP_S)
        return False

    def let_all_go_on(self) -> None:
        """Let all stopped processes go on."""
        self._stopped = False
        for process in self.look():
            _send(os.kill, process.pid, signal.SIGCONT)

    def strike(self) -> None:
        """Kill all that can be seen; in a pid namespace, whose first process the guard has, that is all there is."""
        if not self._root_is_anothers():
            _send(os.killpg, self._root, signal.SIGKILL)
        # What hinders looking does not hinder the stroke above.
        with contextlib.suppress(OSError):
            for seen in (self._alive, self.look):
                for process in seen():
                    _send(os.kill, process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the watch and wait for its thread."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.reason = self._fault()
            if self.reason:
                self.strike()
                return

    def _fault(self) -> str | None:
        """Return what is too much; not to be able to tell is too much as well."""
        try:
            found = self.look()
            if sum(process.resident_bytes for process in found) > self._limits.memory_bytes:
                # Forks share most of what they map: taken twice, it would make a swarm look like a hoard.
                found = [process._replace(resident_bytes=_own_bytes(process)) for process in found]
            # What is stopped takes no memory: who is short of it now must not end the others.
            return excess(found, self._limits) or (None if self._stopped else _shortage())
        except Exception as error:
            return f"its guard cannot see it: {error}"

    def _root_is_anothers(self) -> bool:
        """Tell whether the first process is gone and its pid used again."""
        with contextlib.suppress(OSError):
            now = _process(self._root)
            return now is not None and now.start != self._start
        return False

    def _alive(self) -> list[Process]:
        known = list(self._known.items())
        return [found for pid, start in known if (found := _process(pid)) and found.start == start]


def _send(how: Callable[[int, int], None], pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(pid, number)


def excess(processes: list[Process], limits: Limits) -> str | None:
    """Return what is over the limits, as in "over 64 processes", or None."""
    if len(processes) > limits.processes:
        return f"over {limits.processes} processes"
    if sum(process.threads for process in processes) > limits.threads:
        return f"over {limits.threads} threads"
    if sum(process.resident_bytes for process in processes) > limits.memory_bytes:
        return f"over {limits.memory_bytes // MIB} MiB"
    return None


def _with_descendants(processes: list[Process], most: int) -> list[Process]:
    """Return processes and those below them, ``most`` or so at the most: who swarms must not keep the guard busy."""
    found = {process.pid: process for process in processes}
    for process in (queue := list(processes)):
        if len(found) >= most:
            break
        for pid in _children(process):
            if pid not in found and (child := _process(pid)):
                found[pid] = child
                queue.append(child)
            if len(found) >= most:
                break
    return list(found.values())


def _process(pid: int) -> Process | None:
    """Return a process, or None when it is gone, or dead and only not yet waited for."""
    fields = _stat(f"/proc/{pid}")
    if not fields:
        return None
    threads, pages, state = int(fields[17]), int(fields[21]), fields[0]
    if state in _DEAD:
        # A first thread that ended before the others looks like a dead process without memory.
        if threads < 2:
            return None
        stats = [stat for thread in _threads(pid) if (stat := _stat(f"/proc/{pid}/task/{thread}"))]
        pages = max((int(stat[21]) for stat in stats), default=0)
        state = next((stat[0] for stat in stats if stat[0] not in _DEAD), state)
    waited_s = (int(fields[13]) + int(fields[14])) * _TICK_S
    return Process(pid, int(fields[19]), threads, pages * _PAGE_BYTES, waited_s, state not in _STOPPED)


def _own_bytes(process: Process) -> int:
    """Return a process's resident memory with its part of what it shares, where the kernel tells; it takes some ms."""
    try:
        fields = _read(f"/proc/{process.pid}/smaps_rollup").split()
    except OSError:
        return process.resident_bytes
    return int(fields[fields.index(b"Pss:") + 1]) * 1024 if b"Pss:" in fields else 0


def _ticks_s(pid: int) -> float:
    """Return the processor time of a process that has ended and that nobody has waited for."""
    fields = _stat(f"/proc/{pid}")
    return sum(map(int, fields[11:15])) * _TICK_S if fields else 0.0


def _children(process: Process) -> list[int]:
    """Return the pids of the children of all threads of a process."""
    threads = _threads(process.pid) if process.threads > 1 else [process.pid]
    return [int(pid) for thread in threads for pid in _read(f"/proc/{process.pid}/task/{thread}/children").split()]


def _threads(pid: int) -> list[str]:
    with contextlib.suppress(*_GONE):
        return os.listdir(f"/proc/{pid}/task")
    return []


def _stat(folder: str) -> list[bytes]:
    """Return the fields of a stat file of /proc from the state on; none when it is gone."""
    # The name before them stands in parentheses, and may hold some itself.
    return _read(f"{folder}/stat").rpartition(b")")[2].split()


def _shortage() -> str | None:
    """Tell when the whole machine runs out of memory: a last line against memory that no process shows."""
    fields = _read("/proc/meminfo").split()
    if b"MemAvailable:" not in fields:
        return None
    total, available = (int(fields[fields.index(name) + 1]) for name in (b"MemTotal:", b"MemAvailable:"))
    return "the machine is nearly out of memory" if available < total * _RESERVE_SHARE else None


def _read(path: str) -> bytes:
    """Return a file of /proc, empty when it is gone; without Python's file objects this takes a third less time."""
    chunks = []
    with contextlib.suppress(*_GONE):
        file = os.open(path, os.O_RDONLY)
        try:
            while chunk := os.read(file, _CHUNK_BYTES):
                chunks.append(chunk)
        finally:
            os.close(file)
    return b"".join(chunks)
