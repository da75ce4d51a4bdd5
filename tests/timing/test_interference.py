"""Other work on the processor, and on a GPU as the driver's library would tell of it."""

import math
import os
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import psutil
import pynvml
import pytest
import torch

from eval.device import nvml
from eval.device.nvml import Gpu, driver_version, open_gpu
from eval.run.environment import machine_state
from eval.timing import interference, usage
from eval.timing.interference import OTHERS, STEAL, Watch, all_disturbed
from eval.timing.warmup import TimingError, WorkerEndedError

ME = os.getpid()
CPU = torch.device("cpu")


@dataclass
class Machine:
    """A machine's processor and processes as psutil would tell of them; ``pass_time`` moves its clock."""

    processes: dict[int, list] = field(default_factory=lambda: {1: ["init", 0, 0.0], ME: ["python3", 1, 0.0]})
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    now_s: float = 0.0
    looks: int = 0
    # Of the kernel's count of processor time; 0 counts exactly.
    step_s: float = 0.0

    def start(self, pid: int, name: str, parent: int = 1) -> None:
        self.processes[pid] = [name, parent, 0.0]

    def end(self, pid: int) -> None:
        """End a process, whose time becomes its parent's."""
        _, parent, spent_s = self.processes.pop(pid)
        self.processes[parent][2] += spent_s

    def pass_time(self, wall_s: float, used_s: dict[int, float] | None = None, **busy: float) -> None:
        """Let time pass, in which processes use the processor, and so much goes to what cannot be seen."""
        self.now_s += wall_s
        for pid, its_s in (used_s or {}).items():
            self.processes[pid][2] += its_s
            self.busy["user"] += its_s
        for kind, its_s in busy.items():
            self.busy[kind] += its_s

    def counted(self, spent_s: float) -> float:
        return math.floor(spent_s / self.step_s) * self.step_s if self.step_s else spent_s

    def times(self) -> SimpleNamespace:
        return SimpleNamespace(**{kind: self.counted(its_s) for kind, its_s in self.busy.items()})

    def look(self) -> dict[int, usage.Process]:
        self.looks += 1
        its = self.processes.items()
        return {pid: usage.Process(name, parent, self.counted(spent_s)) for pid, (name, parent, spent_s) in its}

    def process(self, pid: int) -> SimpleNamespace:
        def times() -> SimpleNamespace:
            if pid not in self.processes:
                raise psutil.NoSuchProcess(pid)
            return SimpleNamespace(user=self.counted(self.processes[pid][2]), system=0.0)

        return SimpleNamespace(pid=pid, cpu_times=times)


KINDS = ("user", "nice", "system", "irq", "softirq", "steal", "idle", "iowait")


@pytest.fixture
def undisturbed() -> None:
    """The watch itself is tested here."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    its = Machine()
    monkeypatch.setattr(interference.psutil, "cpu_times", its.times)
    monkeypatch.setattr(interference.psutil, "Process", its.process)
    monkeypatch.setattr(interference.psutil, "pid_exists", lambda pid: pid in its.processes)
    monkeypatch.setattr(interference, "look", its.look)
    monkeypatch.setattr(interference, "time", SimpleNamespace(monotonic=lambda: its.now_s))
    monkeypatch.setattr(interference.os, "getpriority", lambda _which, _who: 0)
    return its


def model(*pids: int) -> SimpleNamespace:
    return SimpleNamespace(processes=frozenset(pids))


def stretch(watch: Watch, machine: Machine, *passed, **busy: float) -> str | None:
    watch.begin()
    machine.pass_time(*passed, **busy)
    return watch.disturbance()


@pytest.mark.parametrize("kind", ["user", "nice", "system", "irq", "softirq"])
def test_a_quarter_of_a_core_is_allowed_to_others(machine: Machine, kind: str):
    with Watch(CPU) as watch:
        assert stretch(watch, machine, 4.0, {ME: 4.0}, **{kind: 1.0}) is None
        assert stretch(watch, machine, 4.0, {ME: 4.0}, **{kind: 1.01}) == "other processes on the CPU"


def test_short_stretches_allow_four_steps_of_the_kernels_clock(machine: Machine):
    with Watch(CPU) as watch:
        assert stretch(watch, machine, 0.01, None, user=0.039) is None
        assert stretch(watch, machine, 0.01, None, user=0.041) == "other processes on the CPU"


def test_short_stretches_are_judged_together(machine: Machine):
    """A compiler that takes four fifths of a core for the whole run disturbs stretches of 10 ms, too."""
    with Watch(CPU) as watch:
        found = [stretch(watch, machine, 0.01, None, user=0.008) for _ in range(40)]
        assert found[:5] == [None] * 5
        assert set(found[5:]) == {"other processes on the CPU"}
        # The last 160 ms count, and what is before them does not.
        assert [stretch(watch, machine, 0.04, None) for _ in range(4)][-1] is None
        # A fifth of a core is allowed to others however short the stretches are.
        assert {stretch(watch, machine, 0.01, None, user=0.002) for _ in range(40)} == {None}


SHORT = pytest.mark.parametrize("wall_s", [0.002, 0.005, 0.01, 0.05])


@SHORT
def test_the_steps_of_the_kernels_clock_are_no_disturbance(machine: Machine, wall_s: float):
    """However many stretches fill the window, each of which rounds what two clocks say."""
    machine.step_s, random = 0.01, np.random.default_rng(0)
    # What came before, by which the two clocks step at different times.
    machine.busy["user"] = 0.0037
    with Watch(CPU) as watch:
        for pause_s, taken_s in random.uniform((0, 0.9 * wall_s), (0.006, 1.1 * wall_s), (2000, 2)):
            machine.pass_time(pause_s, {ME: pause_s})
            assert stretch(watch, machine, taken_s, {ME: taken_s}) is None


@SHORT
def test_other_work_is_noticed_by_a_clock_of_such_steps(machine: Machine, wall_s: float):
    machine.step_s, machine.busy["user"] = 0.01, 0.0037
    machine.start(71, "make")
    with Watch(CPU) as watch:
        found = [stretch(watch, machine, wall_s, {ME: wall_s, 71: 0.6 * wall_s}) for _ in range(round(1 / wall_s))]
    assert None not in found[round(0.2 / wall_s) :]


def test_a_short_pause_counts_with_the_stretches_and_a_long_one_does_not(machine: Machine):
    with Watch(CPU) as watch:
        stretch(watch, machine, 0.01)
        machine.pass_time(1.0, user=1.0)
        assert {stretch(watch, machine, 0.01) for _ in range(16)} == {None}
        found = []
        for _ in range(12):
            machine.pass_time(1.0)
            found.append(stretch(watch, machine, 0.01, None, user=0.0079))
        assert found == [None] * 5 + [OTHERS] * 7
        found = []
        for _ in range(40):
            machine.pass_time(0.01, user=0.008)
            found.append(stretch(watch, machine, 0.01))
        assert set(found[16:]) == {OTHERS}


def test_the_time_of_a_process_that_is_learnt_of_hides_no_other(machine: Machine):
    with Watch(CPU) as watch:
        machine.start(96, "late child", parent=ME)
        machine.pass_time(1.0, {96: 5.0})
        assert stretch(watch, machine, 1.0, {96: 0.9}) == OTHERS
        found = [stretch(watch, machine, 0.01, None, user=0.0079) for _ in range(7)]
        assert found == [None] * 5 + [OTHERS] * 2


def test_idle_time_and_waiting_for_disks_is_no_work(machine: Machine):
    with Watch(CPU) as watch:
        assert stretch(watch, machine, 1.0, None, idle=9.0, iowait=9.0) is None


def test_steal_time_is_counted_and_named_apart(machine: Machine):
    with Watch(CPU) as watch:
        assert stretch(watch, machine, 1.0, None, steal=0.2) is None
        assert stretch(watch, machine, 1.0, None, steal=0.31) == STEAL
        # Together they are too much, and the greater part is named.
        assert stretch(watch, machine, 1.0, None, steal=0.14, user=0.13) == STEAL
        assert stretch(watch, machine, 1.0, None, steal=0.13, user=0.14) == OTHERS
        assert watch.described(STEAL) == f"{STEAL} (22% of a core)"


def test_who_disturbed_is_named_with_pid_and_share(machine: Machine):
    machine.start(70, "cron")
    machine.start(71, "make")
    with Watch(CPU) as watch:
        assert stretch(watch, machine, 2.0, {ME: 2.0, 70: 0.1, 71: 1.4}) == "make on the CPU"
        assert stretch(watch, machine, 2.0, {ME: 2.0}) is None
        assert stretch(watch, machine, 2.0, {ME: 2.0, 71: 0.9}) == "make on the CPU"
        # 1.5 s and 0.9 s of 4 s.
        assert watch.described("make on the CPU") == "make on the CPU (pid 71, 60% of a core)"


def test_processes_of_one_name_are_one_reason(machine: Machine):
    for pid in (81, 82, 83, 85, 86):
        machine.start(pid, "cc1plus")
    machine.start(84, "updatedb")
    with Watch(CPU) as watch:
        assert stretch(watch, machine, 1.0, {81: 0.3, 82: 0.4, 83: 0.2, 84: 0.5}) == "cc1plus on the CPU"
        assert watch.described("cc1plus on the CPU") == "cc1plus on the CPU (pid 82, 81, 83, 140% of a core)"
        assert stretch(watch, machine, 1.0, {83: 0.5, 85: 0.1, 86: 0.2}) == "cc1plus on the CPU"
        # Those that took most come first: 0.7, 0.4 and 0.3 s; 0.3 and 0.1 s besides.
        described = "cc1plus on the CPU (pid 83, 82, 81 and 2 more, 110% of a core)"
        assert watch.described("cc1plus on the CPU") == described


@pytest.mark.parametrize(("cron_s", "blamed"), [(0.59, "make"), (0.61, "cron")])
def test_a_process_that_came_and_went_is_its_parents(machine: Machine, cron_s: float, blamed: str):
    machine.start(71, "make")
    machine.start(72, "cc1", parent=71)
    machine.processes[72][2] = 5.0
    machine.start(73, "cron")
    with Watch(CPU) as watch:
        watch.begin()
        machine.pass_time(1.0, {72: 0.2})
        machine.end(72)
        machine.start(74, "as", parent=71)
        machine.pass_time(0.0, {74: 0.4, 73: cron_s})
        machine.end(74)
        # 0.6 s are make's, and not the 5 s from before as well.
        assert watch.disturbance() == f"{blamed} on the CPU"
        assert stretch(watch, machine, 1.0, {73: 0.8}) == "cron on the CPU"


def test_nobody_is_blamed_for_what_nobody_seen_has_done(machine: Machine):
    machine.start(71, "make")
    with Watch(CPU) as watch:
        assert stretch(watch, machine, 1.0, {71: 0.1}, user=0.4) == OTHERS
        assert stretch(watch, machine, 1.0, {71: 0.1}, user=0.2) == "make on the CPU"
        assert watch.described(OTHERS) == f"{OTHERS} (50% of a core)"


def test_what_works_for_this_command_is_no_disturbance(machine: Machine):
    machine.start(90, "compile worker", parent=ME)
    machine.start(91, "its child", parent=90)
    machine.start(95, "submission")
    with Watch(CPU, [model(), model(95)]) as watch:
        assert stretch(watch, machine, 1.0, {ME: 2.0, 90: 0.7, 91: 0.7, 95: 1.5}) is None
        watch.begin()
        machine.pass_time(1.0, {91: 0.3})
        machine.end(91)
        assert watch.disturbance() is None
        # One that is started later is learnt of with the first stretch that it disturbs.
        machine.start(96, "late child", parent=95)
        assert stretch(watch, machine, 1.0, {96: 0.9}) == OTHERS
        assert stretch(watch, machine, 1.0, {96: 0.9}) is None


def test_a_worker_that_ends_is_its_models_failure(machine: Machine):
    machine.start(95, "submission")
    machine.start(96, "helper", parent=95)
    with Watch(CPU, [model(), model(95, 96)]) as watch:
        machine.end(96)
        assert stretch(watch, machine, 1.0) is None
        watch.begin()
        machine.end(95)
        with pytest.raises(TimingError, match="its process has ended") as caught:
            watch.disturbance()
        assert caught.value.index == 1
        assert isinstance(caught.value.__cause__, WorkerEndedError)
    with pytest.raises(TimingError), Watch(CPU, [model(95)]):
        pass


def test_nobody_is_looked_at_while_nothing_disturbs(machine: Machine):
    with Watch(CPU) as watch:
        for _ in range(5):
            stretch(watch, machine, 1.0, {ME: 1.0})
        assert machine.looks == 1
        stretch(watch, machine, 1.0, None, user=1.0)
        assert machine.looks == 2


def test_a_low_priority_of_this_command_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(interference.os, "getpriority", lambda _which, _who: 10)
    with Watch(CPU) as watch:
        reason = stretch(watch, machine, 1.0, None, user=0.5)
        assert watch.described(reason) == f"{OTHERS} (50% of a core, this command at nice 10)"
        assert watch.described("thermal slowdown") == "thermal slowdown"


def test_what_to_do_follows_from_what_disturbed():
    dropped = {"thermal slowdown": 2, "make on the CPU (pid 71, 62% of a core)": 7}
    assert all_disturbed(dropped) == (
        "every runtime sample was disturbed (7 by make on the CPU (pid 71, 62% of a core), 2 by thermal slowdown); "
        "end the named work or wait until it is done; let the GPU cool down, and see to its cooling; then run it again"
    )
    assert "other virtual machines had the processor" in all_disturbed({f"{STEAL} (22% of a core)": 1})
    assert "see to the GPU's power supply" in all_disturbed({"power brake": 1})
    assert "end the named work" in all_disturbed({"another process on the GPU": 1})
    # As an old record has it.
    assert "; end other work; then" in all_disturbed({"something": 1})


def test_real_processes_are_seen_with_their_parents_and_times():
    code = "import time; start = time.process_time()\nwhile time.process_time() - start < 0.2: pass\nprint(); input()"
    before = usage.look()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as busy:
        busy.stdout.readline()
        after = usage.look()
        assert after[busy.pid].parent == ME
        assert busy.pid in usage.with_descendants(after, [ME])
        used = usage.used_between(before, after, frozenset())
        name = after[busy.pid].name
        assert used[name][busy.pid] >= 0.18
        without = usage.used_between(before, after, frozenset({busy.pid}))
        assert busy.pid not in without.get(name, {})
        assert usage.name_of(busy.pid) == name
        busy.communicate(b"\n")
    assert busy.pid not in usage.look()
    assert usage.name_of(busy.pid) is None


def test_the_time_of_a_process_holds_that_of_its_ended_children():
    assert usage.spent_s(SimpleNamespace(user=1.0, system=2.0, children_user=4.0, children_system=8.0)) == 15.0
    assert usage.spent_s(SimpleNamespace(user=1.0, system=2.0)) == 3.0


def test_a_number_that_is_used_again_is_another_process():
    before = {5: usage.Process("old", 1, 9.0)}
    assert usage.used_between(before, {5: usage.Process("new", 1, 0.5)}, frozenset()) == {"new": {5: 0.5}}


def test_a_name_is_plain_text(monkeypatch: pytest.MonkeyPatch):
    for name, plain in (("kworker/0:1-events", "kworker"), ("a\x1b[31m\n", "a?[31m?")):
        monkeypatch.setattr(usage.psutil, "Process", lambda _pid, its=name: SimpleNamespace(name=lambda: its))
        assert usage.name_of(1) == plain


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU as NVML would tell of it."""
    state = SimpleNamespace(pids=[7], reasons=0, energy=[1000, 3500], clock=1980)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda _h: [SimpleNamespace(pid=pid) for pid in state.pids]
    )
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCurrentClocksThrottleReasons", lambda _h: state.reasons)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", lambda _h, _kind: state.clock)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", lambda _h, _kind: 61)
    monkeypatch.setattr(interference, "open_gpu", lambda _device: Gpu("handle"))
    return state


def test_another_process_on_the_gpu_is_noticed_and_those_from_before_are_not(gpu, monkeypatch: pytest.MonkeyPatch):
    with Watch(torch.device("cuda")) as watch:
        watch.begin()
        assert watch.disturbance() is None
        gpu.pids.append(8)
        monkeypatch.setattr(interference, "name_of", lambda _pid: None)
        assert watch.disturbance() == "another process on the GPU"
        monkeypatch.setattr(interference, "name_of", {8: "python3"}.get)
        assert watch.disturbance() == "python3 on the GPU"
        assert watch.described("python3 on the GPU") == "python3 on the GPU (pid 8)"


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (0, None),
        (pynvml.nvmlClocksThrottleReasonGpuIdle, None),
        (pynvml.nvmlClocksThrottleReasonSwThermalSlowdown, "thermal slowdown"),
        (pynvml.nvmlClocksThrottleReasonHwSlowdown, "hardware slowdown"),
        (pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown, "power brake"),
    ],
)
def test_lowered_clocks_are_noticed(gpu, reasons: int, expected: str | None):
    gpu.reasons = reasons
    with Watch(torch.device("cuda")) as watch:
        assert watch.disturbance() == expected


@pytest.mark.parametrize(("clock", "dropped"), [(1980, False), (1935, False), (1905, True), (2055, True), (0, False)])
def test_a_change_of_the_clock_is_noticed_once(gpu, clock: int, dropped: bool):
    with Watch(torch.device("cuda")) as watch:
        watch.begin()
        gpu.clock = clock
        assert watch.disturbance() == ("a change of the GPU's clock" if dropped else None)
        watch.begin()
        assert watch.disturbance() is None
    assert "lock it" in all_disturbed({"a change of the GPU's clock": 3})


def test_clocks_and_temperature(gpu, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eval.run.environment.open_gpu", lambda _device: Gpu("handle"))
    state = machine_state(torch.device("cuda"))
    assert (state.gpu_mhz, state.gpu_temperature_c) == (1980, 61)


def test_energy_that_is_not_counted_is_none(monkeypatch: pytest.MonkeyPatch):
    def refuse(_handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    assert Gpu("handle").energy_mj() is None


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    def refuse():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(nvml.pynvml, "nvmlInit", refuse)
    assert open_gpu(torch.device("cuda")) is None
    assert driver_version() is None
    assert open_gpu(torch.device("cpu")) is None
    assert machine_state(torch.device("cpu")).gpu_mhz is None


def test_a_gpu_that_tells_no_processes_is_watched_without_them(gpu, monkeypatch: pytest.MonkeyPatch):
    def refuse(_handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    with Watch(torch.device("cuda")) as watch:
        assert watch.unwatched == ()
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", refuse)
    with Watch(torch.device("cuda")) as watch:
        assert watch.disturbance() is None
        assert watch.unwatched == ("its processes",)


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_a_gpu_without_a_library_that_tells_of_it_is_not_watched(monkeypatch, device: str):
    monkeypatch.setattr(interference, "open_gpu", lambda _device: None)
    with Watch(torch.device(device)) as watch:
        assert watch.unwatched == (() if device == "cpu" else ("its processes", "its clock"))
