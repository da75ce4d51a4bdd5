"""Control groups of a third-party program, where this user may make some: the kernel counts it whole, and limits it.

The processor time of a group is complete, whatever became of the processes. Version 2 is taken where it is mounted,
alone or beside version 1, whose controllers give the limits then. Without any, the guard's looks at /proc are all.
"""

import functools
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from eval.device.groups import own_groups
from eval.third_party.guard import Limits

_ROOT = Path("/sys/fs/cgroup")
# By version 2's and version 1's names: what a group may have, and what tells that memory ran out.
_MEMORY, _TASKS = ("memory.max", "memory.limit_in_bytes"), "pids.max"
_MEMORY_EVENTS = ("memory.events", "memory.oom_control")
# A program that writes 0 means itself; what it becomes, and all that comes from it, stays in the group.
_JOIN = 'for file in $1; do echo 0 >"$file" || exit 125; done; shift; exec "$@"'
# Besides the program's own: bubblewrap's.
_MORE_TASKS = 8
_TRIES, _PAUSE_S = 200, 0.005


@dataclass(frozen=True)
class Group:
    """The groups of one program: of version 2, whose file tells the time, and of controllers of version 1."""

    folders: tuple[Path, ...]

    def joined(self, command: list[str]) -> list[str]:
        """Return the command that runs another in these groups."""
        return ["sh", "-c", _JOIN, "sh", " ".join(str(folder / "cgroup.procs") for folder in self.folders), *command]

    def cpu_s(self) -> float:
        """Return the processor time in s of all processes that are or were in it."""
        fields = (self.folders[0] / "cpu.stat").read_text().split()
        return int(fields[fields.index("usage_usec") + 1]) / 1e6

    def ran_out_of_memory(self) -> bool:
        """Tell whether the kernel killed one of its processes for its memory."""
        events = [file for folder in self.folders for name in _MEMORY_EVENTS if (file := folder / name).exists()]
        words = [word for file in events for word in file.read_text().split()]
        return "oom_kill" in words and int(words[words.index("oom_kill") + 1]) > 0

    def limit(self, limits: Limits) -> None:
        """Set the limits that the kernel keeps; files in its memory count to it."""
        most = dict.fromkeys(_MEMORY, limits.memory_bytes + limits.scratch_bytes)
        most[_TASKS] = limits.threads + _MORE_TASKS
        for file in (folder / name for folder in self.folders for name in most):
            if file.exists():
                file.write_text(str(most[file.name]))

    def remove(self) -> None:
        """Remove it, once its processes are gone from it."""
        for folder in self.folders:
            for _ in range(_TRIES):
                try:
                    folder.rmdir()
                    break
                except OSError:
                    time.sleep(_PAUSE_S)


@contextmanager
def grouped(limits: Limits) -> Iterator[Group | None]:
    """Make the groups of a program, and remove them when it has ended; None where none can be made."""
    if fault():
        yield None
        return
    group = _made(limits)
    try:
        yield group
    finally:
        group.remove()


@functools.cache
def fault() -> str | None:
    """Return why no groups can be made here, or None; tried once a process."""
    if not any(_parents()):
        return "no cgroups of version 2 are mounted"
    try:
        group = _made(Limits())
    except OSError as error:
        return f"{error.filename or _ROOT}: {error.strerror}"
    try:
        trial = subprocess.run(group.joined(["true"]), capture_output=True, text=True, errors="replace")
        group.cpu_s()
    except (OSError, ValueError) as error:
        return str(error)
    finally:
        group.remove()
    return None if trial.returncode == 0 else trial.stderr.strip()


def _made(limits: Limits) -> Group:
    """Make the groups of a program; of version 1's, those that this user may make."""
    name, folders = f"{_prefix()}{os.getpid()}-{secrets.token_hex(6)}", []
    for parent in _parents():
        _remove_orphans(parent)
        try:
            (parent / name).mkdir()
        except OSError:
            if not folders:
                raise
            continue
        folders.append(parent / name)
    group = Group(tuple(folders))
    group.limit(limits)
    return group


def _prefix() -> str:
    """Return how the names of groups begin that processes of this process's numbering made: containers have theirs."""
    return f"esr-{Path('/proc/self/ns/pid').stat().st_ino}-"


def _remove_orphans(parent: Path) -> None:
    """Remove groups whose harness was killed before it could; one with processes in it cannot be removed."""
    for folder in parent.glob(f"{_prefix()}*"):
        if not Path("/proc", folder.name.removeprefix(_prefix()).partition("-")[0]).exists():
            with suppress(OSError):
                folder.rmdir()


def _parents() -> Iterator[Path]:
    """Yield the groups that this process is in: of version 2, and of version 1's controllers that limit; or none."""
    own = own_groups()
    unified = [root for root in (_ROOT, _ROOT / "unified") if (root / "cgroup.procs").exists()]
    if unified and "" in own:
        yield unified[0] / own[""].lstrip("/")
        yield from (_ROOT / name / own[name].lstrip("/") for name in ("memory", "pids") if name in own)
