"""The guard sees what a program is, whatever it does to hide."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from eval.third_party import guard
from eval.third_party.guard import Guard, Limits, Process, excess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard needs Linux's /proc")
MIB = 2**20
# A program that outlives this is killed, so that a test that fails does not hang.
PATIENCE_S = 120
LIMITS = Limits(memory_bytes=100 * MIB, processes=3, threads=10)


@contextmanager
def _guarded(text: str, limits: Limits = LIMITS) -> Iterator[tuple[Guard, subprocess.Popen]]:
    """Guard a program that prints a line when it is ready; in the end no process of it is left."""
    command = [sys.executable, "-c", "import os, threading, time\n" + textwrap.dedent(text)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        watch = Guard(process.pid, limits)
        patience = threading.Timer(PATIENCE_S, process.kill)
        patience.start()
        try:
            process.stdout.readline()
            yield watch, process
        finally:
            patience.cancel()
            while watch.look():
                watch.strike()
            watch.stop()


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("processes", "reason"),
    [
        ([Process(1, 0, 10, 100 * MIB)], None),
        ([Process(pid, 0, 1, MIB) for pid in range(4)], "over 3 processes"),
        ([Process(1, 0, 6, MIB), Process(2, 0, 5, MIB)], "over 10 threads"),
        ([Process(1, 0, 1, 60 * MIB), Process(2, 0, 1, 60 * MIB)], "over 100 MiB"),
        ([], None),
    ],
)
def test_excess_says_what_is_too_much(processes: list[Process], reason: str | None):
    assert excess(processes, LIMITS) == reason


def test_children_of_all_threads_are_seen():
    text = """
        def parent():
            if os.fork() == 0:
                open("/proc/self/comm", "w").write("a) Z (b c")
                print(flush=True)
                time.sleep(3600)
            time.sleep(3600)
        threading.Thread(target=parent).start()
        time.sleep(3600)
    """
    with _guarded(text) as (watch, process):
        found = {one.pid: one for one in watch.look()}
        assert len(found) == 2
        assert found[process.pid].threads == 2
        assert all(0 < one.resident_bytes < 100 * MIB for one in found.values())


def test_a_process_whose_first_thread_has_ended_cannot_hide():
    text = """
        import ctypes
        def survivor():
            block = b"x" * (50 * 2**20)
            while open(f"/proc/self/task/{os.getpid()}/stat").read().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.001)
            if os.fork() == 0:
                time.sleep(3600)
            print(flush=True)
            time.sleep(3600)
        threading.Thread(target=survivor).start()
        sys_exit = {"x86_64": 60}.get(os.uname().machine, 93)
        ctypes.CDLL(None).syscall(sys_exit, 0)
    """
    with _guarded(text) as (watch, process):
        found = {one.pid: one for one in watch.look()}
        assert len(found) == 2
        assert found[process.pid].resident_bytes > 50 * MIB


def test_an_orphan_stays_known():
    text = """
        if os.fork() == 0:
            os.setsid()
            print(flush=True)
            time.sleep(3600)
        time.sleep(3600)
    """
    with _guarded(text) as (watch, process):
        (orphan,) = {one.pid for one in watch.look()} - {process.pid}
        process.kill()
        process.wait()
        assert [one.pid for one in watch.look()] == [orphan]
        assert watch.reason is None


def test_a_pid_that_is_used_again_is_not_struck():
    with _guarded("print(flush=True)\ntime.sleep(3600)") as (watch, process):
        earlier = watch._start
        watch._start = watch._known[process.pid] = earlier - 1
        assert watch.look() == []
        watch.strike()
        watch._start = watch._known[process.pid] = earlier
        # A stroke would have been the first signal, and the one that counts.
        process.terminate()
        assert process.wait() == -signal.SIGTERM


def test_a_swarm_does_not_keep_it_busy():
    text = """
        for _ in range(60):
            if os.fork() == 0:
                time.sleep(3600)
        print(flush=True)
        time.sleep(3600)
    """
    with _guarded(text) as (watch, _):
        assert len(watch.look()) <= LIMITS.processes + 1


def test_what_forks_share_is_counted_once():
    """Six processes that share 60 MiB hold 60 MiB, and are too many before they are too much."""
    text = """
        block = b"x" * (60 * 2**20)
        for _ in range(5):
            if os.fork() == 0:
                time.sleep(3600)
        print(flush=True)
        time.sleep(3600)
    """
    with _guarded(text, Limits(memory_bytes=200 * MIB, processes=10)) as (watch, process):
        found = watch.look()
        assert len(found) == 6
        assert sum(one.resident_bytes for one in found) > 360 * MIB
        assert 60 * MIB < sum(map(guard._own_bytes, found)) < 200 * MIB
        assert watch._fault() is None
        assert process.poll() is None


@pytest.mark.parametrize(("available", "reason"), [(100, "the machine is nearly out of memory"), (900, None)])
def test_a_machine_without_memory(monkeypatch: pytest.MonkeyPatch, available: int, reason: str | None):
    meminfo = f"MemTotal:       16000 kB\nMemFree:   1 kB\nMemAvailable:   {available} kB\n".encode()
    monkeypatch.setattr(guard, "_read", lambda path: meminfo)
    assert guard._shortage() == reason


def test_a_shortage_is_not_held_against_who_is_stopped(monkeypatch: pytest.MonkeyPatch):
    with _guarded("print(flush=True)\ntime.sleep(3600)") as (watch, _):
        assert watch.stop_all()
        monkeypatch.setattr(guard, "_shortage", lambda: "short")
        assert watch._fault() is None
        watch.let_all_go_on()
        assert watch._fault() == "short"


def test_a_dead_process_has_no_memory():
    process = subprocess.Popen(["true"])
    _until(lambda: guard._process(process.pid) is None)
    assert process.wait() == 0
    assert guard._process(process.pid) is None
    assert guard._process(os.getpid()).pid == os.getpid()


def test_a_guard_that_cannot_see_kills(monkeypatch: pytest.MonkeyPatch):
    with _guarded("print(flush=True)\ntime.sleep(3600)") as (watch, process):
        with monkeypatch.context() as patch:
            patch.setattr(guard, "_read", _out_of_files)
            _until(lambda: process.poll() is not None)
        assert watch.reason == "its guard cannot see it: [Errno 24] Too many open files"


def _out_of_files(path: str) -> bytes:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_more_children_than_a_page_of_proc_lists():
    text = """
        for _ in range(1000):
            if os.fork() == 0:
                time.sleep(3600)
        print(flush=True)
        time.sleep(3600)
    """
    with _guarded(text, Limits(processes=2000, threads=2000)) as (watch, _):
        assert len(watch.look()) == 1001
