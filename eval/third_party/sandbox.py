"""One third-party program that can harm nobody: pipes to talk with it, a log, limits, and an end for good.

In bubblewrap what starts is, from the outside in: a shell that joins the control group, ``choom`` and ``nice``
(second to the harness), ``taskset`` (the processors), a line of Python (a keyring of its own), ``bwrap`` (mounts,
namespaces, the filter of system calls), a shell that waits for a line, ``prlimit`` (limits), and the program. In
turn: the pipes are made; that is launched; bubblewrap tells the pid of its first process; the waiting shell tells
that the sandbox stands; the harness can end it from then on, and lets it go. Without a sandbox of its own kind the
program starts within the limits at once.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO

from eval.errors import RunError
from eval.third_party import bubblewrap, system_calls
from eval.third_party.bubblewrap import Mounts
from eval.third_party.cgroups import Group, grouped
from eval.third_party.guard import MIB, Guard, Limits, Used
from eval.third_party.kinds import SandboxKind
from eval.third_party.log import Log
from eval.third_party.processor import only_on
from eval.third_party.rlimits import rlimits, second_to_the_harness

_DEATH_TIMEOUT_S = 60
_DEATH_POLL_S = 0.002
# While bubblewrap sets up a sandbox, the sandbox does not yet die with its parent. So its program waits for a line from
# the harness, and never begins if that has died; at worst an idle bwrap is left that nobody's code has been in.
# (Pipes are opened by name, as not every shell can duplicate an fd above 9.)
_WAITING = ["sh", "-c", 'echo >/dev/fd/$ESR_REPLIES_FD && read -r _ </dev/fd/$ESR_REQUESTS_FD && exec "$@"', "sh"]
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "USER": "sandbox", "LOGNAME": "sandbox"}


@dataclass(eq=False)
class Sandboxed:
    """A program in a sandbox, made by ``start``; use it in a ``with`` statement, whose end is the program's end.

    Attributes:
        to_worker: what is written here, the program reads from its fd ESR_REQUESTS_FD. Unbuffered: ``write`` may
            take a part only, blocks while the pipe is full, and raises BrokenPipeError when nobody reads.
        from_worker: what the program writes to its fd ESR_REPLIES_FD; unbuffered; b"" when it has closed it or died.
        pid: the sandbox's first process, in the host's numbers: the program, or in bubblewrap the one that started it.
        _held: ends the process, closes the pipes and removes a scratch folder on disk; ``start`` does that until here.
    """

    to_worker: FileIO
    from_worker: FileIO
    pid: int
    _process: subprocess.Popen[bytes]
    _limits: Limits
    _log: Log
    _group: Group | None
    _held: ExitStack
    _killed: bool = False
    _out_of_memory: bool = False
    _rested: Used | None = None

    def __post_init__(self) -> None:
        """Guard the program, and take over its end."""
        self._guard = Guard(self.pid, self._limits)
        self._held = self._held.pop_all()

    def __enter__(self) -> "Sandboxed":
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.kill()
        finally:
            self._held.close()

    def kill(self) -> None:
        """End all processes of the sandbox, and return when none is left; whoever waits for a reply then gets b"".

        Raises:
            RunError: one of them survives for a minute, which only a hanging device or file system can bring about.
        """
        self.exit_reason()
        self._killed = self._killed or self._process.poll() is None
        deadline = time.monotonic() + _DEATH_TIMEOUT_S
        while self._process.poll() is None or self._guard.look():
            self._guard.strike()
            if time.monotonic() > deadline:
                raise RunError(f"process {self.pid} of a sandbox cannot be killed; it seems to hang in the kernel")
            time.sleep(_DEATH_POLL_S)
        self._guard.stop()
        self._log.close()

    def used(self) -> Used:
        """Return the processor time of all its processes so far; what the kernel tells, from outside."""
        return Used(self._group.cpu_s()) if self._group else self._guard.used()

    def rest(self) -> None:
        """Stop all its processes until ``go_on``; what cannot be stopped is killed."""
        if self._guard.stop_all():
            self._rested = self.used()
        else:
            self.kill()

    def go_on(self) -> float:
        """Let it go on, and return the processor time in s that it took since it was to rest; 0 if it was not.

        Infinite where a signal of its own woke it: without a group, the time of processes that ended since is lost.
        """
        rested, self._rested = self._rested, None
        if rested is None:
            return 0.0
        now = self.used()
        self._guard.let_all_go_on()
        return math.inf if self._guard.woken or now.pids != rested.pids else now.cpu_s - rested.cpu_s

    def exit_reason(self) -> str | None:
        """Return how the program ended, as in "exit code 3" or "killed: over 64 processes"; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._notice_memory(code)
        if self._guard.reason:
            return f"killed: {self._guard.reason}"
        if self._out_of_memory:
            return f"killed: over {(self._limits.memory_bytes + self._limits.scratch_bytes) // MIB} MiB, files included"
        if self._killed:
            return "killed"
        # As shells do, bubblewrap gives a signal's number on top of 128.
        number = -code if code < 0 else code - 128
        if number == signal.SIGXCPU:
            return f"killed: over {self._limits.cpu_s} s of processor time"
        return f"killed by signal {number}" if 0 < number < signal.NSIG else f"exit code {code}"

    def _notice_memory(self, code: int) -> None:
        """Remember, while its group is there, that the kernel ended it for its memory."""
        with contextlib.suppress(OSError):
            killed = signal.SIGKILL in (-code, code - 128) and not self._killed
            self._out_of_memory |= bool(killed and self._group and self._group.ran_out_of_memory())

    def log_tail(self) -> str:
        """Return the end of what the program printed, at most the limit's bytes, in printable characters."""
        return self._log.tail()

    def host_pids(self) -> list[int]:
        """Return the pids of all live processes of the sandbox, in the host's numbers."""
        return [process.pid for process in self._guard.look()]


def start(
    command: Sequence[str], kind: SandboxKind, mounts: Mounts, limits: Limits, environment: Mapping[str, str]
) -> Sandboxed:
    """Start a program, which finds its pipes and its scratch folder by ESR_REQUESTS_FD, ESR_REPLIES_FD, ESR_SCRATCH.

    Its working directory is the scratch folder, its environment the given one with a few names added, its stdin is
    empty. The thread that starts it must live on: in bubblewrap, the program ends with it.
    It returns when the sandbox stands, in some tens of milliseconds.

    Raises:
        RunError: something to mount does not exist, or bubblewrap does not start.
    """
    if missing := [str(path) for path in (*mounts.readable, *mounts.devices) if not path.exists()]:
        raise RunError(f"these files or folders for the sandbox do not exist: {', '.join(missing)}")
    with ExitStack() as ours, ExitStack() as theirs:
        requests, to_worker = _pipe(theirs, ours)
        from_worker, replies = _pipe(ours, theirs)
        printing, printed = _pipe(ours, theirs)
        info, told = _pipe(ours, theirs)
        wrapped = [*rlimits(limits, counted_apart=kind is SandboxKind.BUBBLEWRAP), *command]
        if kind is SandboxKind.BUBBLEWRAP:
            scratch, cwd, their_fds = bubblewrap.SCRATCH, "/", {"--info-fd": told, **_filter(theirs, mounts)}
            channels = [requests, replies, *their_fds.values()]
            numbers = {option: fd.fileno() for option, fd in their_fds.items()}
            keyring = system_calls.in_a_new_keyring() if "--seccomp" in numbers else []
            wrapped = [*keyring, *bubblewrap.wrap([*_WAITING, *wrapped], mounts, limits, numbers)]
        else:
            folder = tempfile.TemporaryDirectory(prefix="esr-scratch-", ignore_cleanup_errors=True)
            scratch = cwd = ours.enter_context(folder)
            channels = [requests, replies]
        environment = _environment(environment, scratch, requests, replies)
        group = ours.enter_context(grouped(limits))
        wrapped = [*second_to_the_harness(), *only_on(limits.cpus), *wrapped]
        process = _launch(group.joined(wrapped) if group else wrapped, cwd, environment, channels, printed)
        log = ours.enter_context(contextlib.closing(Log(printing, limits.log_bytes)))
        ours.callback(process.wait)
        ours.callback(process.kill)
        theirs.close()
        pid = process.pid
        if kind is SandboxKind.BUBBLEWRAP:
            pid = _first_inside(process, info, log)
            ours.callback(_kill_first, process, pid)
            _let_go(process, to_worker, from_worker, log)
        return Sandboxed(to_worker, from_worker, pid, process, limits, log, group, ours)


def _filter(stack: ExitStack, mounts: Mounts) -> dict[str, FileIO]:
    """Return the compiled filter of system calls as the option that loads it; nothing where none can be had."""
    if system_calls.fault():
        return {}
    read, write = os.pipe()
    # It is far smaller than a pipe.
    with FileIO(write, "w") as pipe:
        pipe.write(system_calls.program(on_gpu=bool(mounts.devices)))
    return {"--seccomp": stack.enter_context(FileIO(read, "r"))}


def _launch(
    command: list[str], cwd: str, environment: dict[str, str], channels: list[FileIO], printed: FileIO
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own that prints to ``printed`` and has ``channels`` open."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=printed,
        cwd=cwd,
        env=environment,
        pass_fds=[channel.fileno() for channel in channels],
        start_new_session=True,
    )


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[FileIO, FileIO]:
    """Return the two ends of a new pipe, each to be closed with its stack."""
    read, write = os.pipe()
    return reading.enter_context(FileIO(read, "r")), writing.enter_context(FileIO(write, "w"))


def _environment(given: Mapping[str, str], scratch: str, requests: FileIO, replies: FileIO) -> dict[str, str]:
    pipes = {"ESR_REQUESTS_FD": str(requests.fileno()), "ESR_REPLIES_FD": str(replies.fileno())}
    return {**_ENVIRONMENT, **given, "HOME": scratch, "TMPDIR": scratch, "ESR_SCRATCH": scratch, **pipes}


def _first_inside(process: subprocess.Popen[bytes], info: FileIO, log: Log) -> int:
    """Return the host's pid of the first process of bubblewrap's pid namespace: with it, all die."""
    try:
        return json.loads(info.readall())["child-pid"]
    except ValueError:
        raise _start_error(process, log) from None


def _let_go(process: subprocess.Popen[bytes], to_worker: FileIO, from_worker: FileIO, log: Log) -> None:
    """Let the program begin once the sandbox stands."""
    if not from_worker.read(1):
        raise _start_error(process, log)
    to_worker.write(b"\n")


def _start_error(process: subprocess.Popen[bytes], log: Log) -> RunError:
    process.wait(_DEATH_TIMEOUT_S)
    log.close()
    return RunError(f"bubblewrap did not start: {log.tail().strip() or 'it does not say why'}")


def _kill_first(process: subprocess.Popen[bytes], pid: int) -> None:
    """Kill the first process inside if it lives; to kill bubblewrap would not do while it sets up the sandbox."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
