"""The clock is taken from outside: work around it, beside it and in the turns of others is seen, or made impossible."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from eval.data.images import ImageSize
from eval.errors import RunError, UsageError
from eval.third_party import account, guard, processor, submission
from eval.third_party.account import Spent
from eval.third_party.choosing import choose_model_file
from eval.third_party.guard import Guard, Limits, Used
from eval.third_party.kinds import SandboxKind, choose_sandbox
from eval.third_party.remote import SandboxedUpscaler
from eval.third_party.submission import Rules
from tests.planted_checkout import PLANTED
from tests.tasks import config_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
LR = np.full((24, 32, 3), 100, np.uint8)
BYTES = LR.nbytes * (1 + 16 * 4)
HONEST = {"forward_s": 0.1, "forward_cpu_s": 0.1, "around_s": 0.01, "around_cpu_s": 0.005, "before_cpu_s": 0.0}


def spent(**changes: float) -> Spent:
    return Spent(**(HONEST | changes), moved_bytes=BYTES)


@pytest.fixture(autouse=True)
def known_cost(monkeypatch: pytest.MonkeyPatch):
    """A byte takes 1 ns, so that an image is allowed 10 ms a thread and 0.6 ms."""
    monkeypatch.setattr(account, "moving_s_per_byte", lambda: 1e-9)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({}, None, None),
        ({"around_cpu_s": 0.0105}, None, None),
        (
            {"around_cpu_s": 0.084},
            "late",
            "84 ms of processor time around a forward of 100 ms; to move its bytes, 11 ms",
        ),
        ({"around_s": 5.0}, None, None),
        ({"before_cpu_s": 0.006}, "turn", "6 ms of processor time in the turns of others"),
        ({"before_cpu_s": math.inf}, "turn", "its processes woke in the turns of others"),
        ({"forward_cpu_s": 0.19}, "turn", "190 ms of processor time in a forward of 100 ms: more than 1 thread"),
        ({"forward_cpu_s": 0.12}, None, None),
    ],
)
def test_what_no_clock_shows_is_told(changes: dict, code: str | None, text: str | None):
    found = spent(**changes).irregularity(threads=1, on_cpu=True)
    assert (found is None) == (code is None)
    if found:
        assert found[0] == code
        assert text in found[1]


def test_threads_that_it_was_given_are_its_own():
    assert spent(forward_cpu_s=0.19).irregularity(threads=2, on_cpu=True) is None


def test_of_a_gpus_work_the_clock_tells():
    """On a processor it is told as well, but makes no time void: others may have had the processor."""
    assert spent(forward_cpu_s=0.19, around_cpu_s=0.08, around_s=0.075).irregularity(threads=1, on_cpu=False) is None
    late = spent(around_s=0.2)
    assert late.irregularity(threads=1, on_cpu=False) == ("late", "200 ms passed around a forward of 100 ms")
    assert late.irregularity(threads=1, on_cpu=True) is None
    assert late.slowness() == "200 ms passed around a forward of 100 ms"
    assert spent(around_s=0.08).slowness() is None


def test_what_was_used_between_looks_is_told_by_part():
    """Processor time so far: 1 s, 1.5 s with the input, 3.5 s with the forward, 3.75 s with the output."""
    used = [Used(its, frozenset(pids)) for its, pids in ((1.0, {1, 2, 3}), (1.5, {1, 2}), (3.5, {1, 4}), (3.75, {1}))]
    its = Spent.between(used, 0.001, (0.25, 2.5, 0.5), 1000)
    assert its == Spent(2.5, 2.0, 0.75, 0.75, 0.001, 1000, ended=2)
    told = "2 of its processes ended around the forward: what they took cannot be told"
    assert its.irregularity(threads=1, on_cpu=True) == ("late", told)


def test_moving_bytes_takes_some_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert 0 < account.moving_s_per_byte() < 1e-6


def test_moving_bytes_is_measured_before_anybodys_code_runs(monkeypatch: pytest.MonkeyPatch):
    def start(*_arguments: object) -> None:
        done.append("started")
        raise RunError("no worker")

    done: list[str] = []
    monkeypatch.setattr(submission, "moving_s_per_byte", lambda: done.append("measured"))
    monkeypatch.setattr(submission, "start", start)
    with pytest.raises(RunError), submission.opened(None, Rules(SandboxKind.NONE), config_of(), {}, []):
        pass
    assert done == ["measured", "started"]


def test_processors_are_of_different_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    siblings = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5", 2: "2-3", 3: "2-3"}
    for cpu, shared in siblings.items():
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{shared}\n")
    monkeypatch.setattr(processor, "_CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(siblings))
    assert processor.processors(3) == (0, 1, 2)
    assert processor.processors(2) == (1, 2)
    assert processor.processors(4) == (0, 1, 2, 5)
    assert processor.processors(6) is None


def test_the_time_of_a_process_is_told_with_its_children(monkeypatch: pytest.MonkeyPatch):
    """Of one that runs, one that it has waited for, and one that has ended and that nobody waits for."""
    text = """
import os, sys, time
def burn():
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
burn()
if os.fork() == 0: burn(); os._exit(0)
os.wait()
if os.fork() == 0: burn(); os._exit(0)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
print(flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        watch = Guard(process.pid, Limits())
        process.stdout.readline()
        assert 0.55 < watch.used().cpu_s < 5
        process.stdin.close()
    watch.stop()


def test_who_is_stopped_holds_still():
    text = "import os\nfor _ in range(3): os.fork()\nprint(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, start_new_session=True) as process:
        watch = Guard(process.pid, Limits())
        process.stdout.readline()
        assert watch.stop_all()
        before_s, began_s = watch.used().cpu_s, time.process_time()
        while time.process_time() < began_s + 0.1:
            pass
        assert watch.used().cpu_s - before_s < 0.005
        watch.let_all_go_on()
        while watch.used().cpu_s - before_s < 0.005:
            pass
        while watch.look():
            watch.strike()
    watch.stop()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator:
    """Open planted networks as the steady protocol does, together, with one thread each."""
    try:
        rules = Rules(choose_sandbox(None), timeout_s=300)
    except UsageError as error:
        pytest.skip(str(error))
    torch.save({"weight": torch.ones(1)}, tmp_path / "one.pth")
    with ExitStack() as stack:

        def open_model(class_name: str) -> SandboxedUpscaler:
            target = f"{PLANTED / 'hostile.py'}:{class_name}"
            source = choose_model_file(target, tmp_path / "one.pth", 1.0, rules)
            return stack.enter_context(source.open(config_of(protocol="steady"), ImageSize(24, 32)))

        yield open_model


def test_an_honest_network_rests_and_is_regular(opened):
    model = opened("Honest")
    states = {psutil.Process(pid).status() for pid in model.processes}
    assert states == {psutil.STATUS_STOPPED}
    for _ in range(3):
        sr, runtime_ms = model(LR)
        assert (sr == 100).all()
        assert runtime_ms > 0
        assert model.irregular is None
    assert {psutil.Process(pid).status() for pid in model.processes} == {psutil.STATUS_STOPPED}
    assert model.run_flags == ()


def test_work_when_the_image_arrives_is_flagged_with_its_size(opened):
    model = opened("WorksWhenTheImageArrives")
    model(LR)
    assert model.irregular == "works outside of the timed forward"
    (flag,) = model.run_flags
    assert flag.code == "late"
    size_ms = int(flag.text.split("forward: ")[1].split(" ms")[0])
    assert 84 <= size_ms < 1000


def test_a_rival_is_not_slowed(opened, monkeypatch: pytest.MonkeyPatch):
    """Its processes stand still in the turns of others; where they did not, who it was is told."""
    burner = opened("BurnsOnTheSide")
    burner(LR)
    sandboxed = burner.connection.sandboxed
    before_s, began_s = sandboxed.used().cpu_s, time.process_time()
    while time.process_time() < began_s + 0.1:
        pass
    assert sandboxed.used().cpu_s - before_s < 0.005
    monkeypatch.setattr(guard.Guard, "stop_all", lambda _self: True)
    burner(LR)
    after_s = sandboxed.used().cpu_s
    while sandboxed.used().cpu_s - after_s < 0.02:
        time.sleep(0.001)
    burner(LR)
    assert burner.irregular == "uses processors that are not its own"
    assert "in the turns of others" in burner.run_flags[0].text or len(burner.run_flags) > 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGCONT])
def test_who_wakes_in_the_turns_of_others_is_told(opened, number: int):
    """By a timer of its own it can work, and end or stop again: without a control group nobody knows what it took."""
    model = opened("BurnsOnTheSide")
    sandboxed = model.connection.sandboxed
    sandboxed._group = None
    sandboxed.rest()
    assert sandboxed.go_on() < 0.005
    sandboxed.rest()
    *_, helper = sorted(model.processes, key=lambda pid: psutil.Process(pid).create_time())

    def runs() -> list[bool]:
        return [process.runs for process in sandboxed._guard.look() if process.pid == helper]

    assert runs() == [False]
    os.kill(helper, number)
    while runs() == [False]:
        pass
    assert sandboxed.go_on() == math.inf


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_more_threads_than_given_gain_nothing(opened):
    model = opened("UsesTwoProcessors")
    _, runtime_ms = model(LR)
    assert {len(os.sched_getaffinity(pid)) for pid in model.processes} == {1}
    # Two processes of 50 ms each, on the one processor.
    assert runtime_ms > 95
