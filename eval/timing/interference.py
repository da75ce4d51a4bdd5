"""Noticing what disturbs a measurement, and naming it: other work on the processor or the GPU, and lowered clocks."""

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil
import torch

from eval.device.nvml import Gpu, open_gpu
from eval.timing.samples import what_disturbed
from eval.timing.usage import Look, Used, look, name_of, spent_s, used_between, with_descendants
from eval.timing.warmup import Timed, TimingError, WorkerEndedError
from eval.words import first_of

# The kernel counts processor time in steps of 10 ms a core.
FOREIGN_SHARE = 0.25
FOREIGN_LEAST_S = 0.04
# What is shorter, a pause too, is judged together with what came before it, up to this length: there, both limits are
# one.
_WINDOW_S = FOREIGN_LEAST_S / FOREIGN_SHARE
# A process is blamed if it took so much of what went to others.
_BLAMED_SHARE = 0.25
# So many processes of one name are told by number, those that took most.
_LISTED = 3
# Of a GPU's clock, between the beginning and the end of a stretch; a boost in steps of 15 MHz is less.
_CLOCK_CHANGE = 0.03
OTHERS, STEAL = "other processes on the CPU", "steal time of the virtual machine"
# What a reason holds, and what a person can do then.
_ADVICE = (
    ("steal time", "other virtual machines had the processor: take a machine of your own, or another hour"),
    (" on the ", "end the named work or wait until it is done"),
    ("clock", "wait until the GPU's clock is steady, or ask its administrator to lock it"),
    ("slowdown", "let the GPU cool down, and see to its cooling"),
    ("power brake", "see to the GPU's power supply"),
)


@dataclass
class _Seen:
    """What is known of one reason, over all stretches that it disturbed."""

    processes: Used = field(default_factory=Used)
    cpu_s: float = 0.0
    wall_s: float = 0.0


class Watch:
    """Watches over short stretches of work: ``begin()``, the work, then ``disturbance()``.

    While nothing disturbs, only totals are read, between the timed parts. All processes are looked at once at the start
    and after a stretch that was disturbed. Those of the models, this one, and all that come from these do not disturb.
    """

    def __init__(self, device: torch.device, models: Sequence[Timed] = ()) -> None:
        self._device = device
        self._models = models
        self._with_workers = [index for index, model in enumerate(models) if model.processes]
        self._own: list[psutil.Process] = []
        self._gpu: Gpu | None = None
        self._gpu_processes: frozenset[int] = frozenset()
        self._seen: dict[str, _Seen] = {}
        # Readings: the last stretch's end, and the beginnings of the stretches that are judged together.
        self._ended, self._begun = np.zeros(3), deque[np.ndarray]()

    def __enter__(self) -> "Watch":
        """Look who is there: whoever computes on the GPU now is taken for part of the set-up."""
        gpu = self._gpu = open_gpu(self._device)
        told = (gpu and gpu.processes(), gpu and gpu.clock_mhz())
        self._gpu_processes = told[0] or frozenset()
        # Of what it does not tell, nothing is noticed.
        silent = [what for what, its in zip(("its processes", "its clock"), told, strict=True) if its is None]
        self.unwatched = () if self._device.type == "cpu" else tuple(silent)
        self._refuse_ended_workers()
        self._last = self._look()
        self.begin()
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing is held."""

    def begin(self) -> None:
        """Start a stretch.

        Raises:
            TimingError: a model's worker has ended.
        """
        self._clock_mhz = self._gpu and self._gpu.clock_mhz()
        now = self._read()
        if (pause := now - self._ended)[0] >= _WINDOW_S:
            # Whatever happened in it disturbed no stretch.
            self._begun = deque(begun + pause for begun in self._begun)
        self._begun.append(now)

    def disturbance(self) -> str | None:
        """Return what disturbed the stretch since ``begin()``, the same words for the same cause; or None.

        Raises:
            TimingError: a model's worker has ended.
        """
        self._ended = now = self._read()
        if self._gpu is not None and (on_gpu := self._on_gpu(self._gpu)):
            return on_gpu
        # A fast GPU waits for the CPU that starts its kernels: what disturbs that one disturbs both.
        # One difference for all that is judged together: the kernel's steps round each one anew.
        while len(self._begun) > 1 and now[0] - self._begun[1][0] >= _WINDOW_S:
            self._begun.popleft()
        wall_s, others_s, steal_s = (now - self._begun[0]).tolist()
        if others_s + steal_s <= max(FOREIGN_SHARE * wall_s, FOREIGN_LEAST_S):
            return None
        reason, used = self._blamed(others_s)
        if steal_s > others_s:
            reason, used = STEAL, Used()
        seen = self._seen.setdefault(reason, _Seen())
        seen.processes += used
        seen.cpu_s += max(others_s, steal_s)
        seen.wall_s += wall_s
        return reason

    def described(self, reason: str) -> str:
        """Return a reason with what all of its stretches told: processes, and the share that went to others."""
        seen = self._seen.get(reason)
        if seen is None:
            return reason
        pids = [str(pid) for pid, _ in seen.processes.most_common()]
        who = f"pid {first_of(pids, _LISTED)}" if pids else ""
        share = f"{seen.cpu_s / seen.wall_s:.0%} of a core" if seen.wall_s else ""
        priority = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0
        low = f"this command at nice {priority}" if share and priority > 0 else ""
        return f"{reason} ({', '.join(filter(None, (who, share, low)))})"

    def _on_gpu(self, gpu: Gpu) -> str | None:
        """Return which other process computes on the GPU, or why its clocks are lowered."""
        others = (gpu.processes() or frozenset()) - self._gpu_processes
        if not others:
            return gpu.throttling() or self._clock_changed(gpu)
        names = sorted({name for pid in others if (name := name_of(pid))})
        if not names:
            return "another process on the GPU"
        reason = f"{', '.join(names)} on the GPU"
        self._seen.setdefault(reason, _Seen()).processes.update(others)
        return reason

    def _clock_changed(self, gpu: Gpu) -> str | None:
        """Return that the clock is another one than at the beginning, if it is and is told."""
        before, now = self._clock_mhz, gpu.clock_mhz()
        if before and now and abs(now - before) > _CLOCK_CHANGE * before:
            return "a change of the GPU's clock"
        return None

    def _blamed(self, others_s: float) -> tuple[str, Used]:
        """Look at all processes; return the name that took most since the last look, and its processes."""
        before, self._last = self._last, self._look()
        used = used_between(before, self._last, frozenset(process.pid for process in self._own))
        name = max(used, key=lambda name: used[name].total(), default=None)
        if name is None or used[name].total() < _BLAMED_SHARE * others_s:
            return OTHERS, Used()
        return f"{name} on the CPU", used[name]

    def _look(self) -> Look:
        """Look at all processes, and learn which of them work for this command."""
        seen = look()
        workers = frozenset().union(*(model.processes for model in self._models))
        own = with_descendants(seen, {os.getpid(), *workers})
        if own - {process.pid for process in self._own}:
            # Earlier readings count the time of these as that of others.
            self._begun.clear()
        self._own = [process for pid in own if (process := _process(pid))]
        return seen

    def _read(self) -> np.ndarray:
        """Return the time, that of all cores which went to processes that are not this command's, and steal time."""
        now_s, busy = time.monotonic(), psutil.cpu_times()
        others = sum(getattr(busy, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq"))
        spent = [_spent_s(process) for process in self._own]
        if None in spent:
            # What an ended process took is its parent's now.
            self._own = [process for process, its in zip(self._own, spent, strict=True) if its is not None]
            self._refuse_ended_workers()
        return np.array([now_s, others - sum(filter(None, spent)), getattr(busy, "steal", 0.0)])

    def _refuse_ended_workers(self) -> None:
        for index in self._with_workers:
            if not any(map(psutil.pid_exists, self._models[index].processes)):
                ended = WorkerEndedError("its process has ended")
                raise TimingError(index, ended) from ended


def all_disturbed(dropped: Mapping[str, int]) -> str:
    """Return that no sample was left undisturbed, by whom, and what to do; reasons as ``Timing.dropped`` has them."""
    advice = [what for part, what in _ADVICE if any(part in reason for reason in dropped)] or ["end other work"]
    return f"every runtime sample was disturbed ({what_disturbed(dropped)}); {'; '.join(advice)}; then run it again"


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _spent_s(process: psutil.Process) -> float | None:
    """Return the processor time of a process with its ended children's; None if it has ended itself."""
    try:
        return spent_s(process.cpu_times())
    except psutil.Error:
        return None
