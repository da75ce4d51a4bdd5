"""The limits that the kernel keeps, set by commands in front of the program: no code of ours between fork and exec."""

import os
import re
import shutil

from eval.third_party.guard import Limits

_OPEN_FILES = 1024
# How long a program may go on that ignores the signal at the end of its processor time.
_CPU_GRACE_S = 5
# Of all processes, the kernel takes a sandbox's first when memory runs out.
_FIRST_TO_GO = 1000
# A third of a process's usual share, where others want the processor; all of it, where nobody does.
_NICENESS = 5
# Before Linux 5.14 the limit counts all of the user's threads, not those of the sandbox.
_COUNTS_APART = (5, 14)


def rlimits(limits: Limits, counted_apart: bool) -> list[str]:
    """Return the command to put in front of another to limit each of its processes; nothing where there is none.

    ``counted_apart`` says that it runs in a user namespace, where the kernel counts its threads and no others.
    """
    program = shutil.which("prlimit")
    if program is None:
        return []
    import resource  # which Windows lacks

    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _OPEN_FILES if most_files == resource.RLIM_INFINITY else min(_OPEN_FILES, most_files)
    options = ["--core=0", f"--cpu={limits.cpu_s}:{limits.cpu_s + _CPU_GRACE_S}", f"--nofile={files}"]
    options += [f"--fsize={limits.scratch_bytes}"]
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    if counted_apart and release >= _COUNTS_APART:
        options += [f"--nproc={limits.threads}"]
    return [program, *options]


def second_to_the_harness() -> list[str]:
    """Return the command to put in front of another so that the harness always gets far enough to end it.

    The kernel kills it first when memory runs out, and a swarm of forks does not keep the guard from a processor.
    """
    commands = {"choom": ["-n", str(_FIRST_TO_GO), "--"], "nice": ["-n", str(_NICENESS)]}
    return [word for name, options in commands.items() if shutil.which(name) for word in (name, *options)]
