"""Noticing what disturbs a measurement: other work on the processor or the GPU, and lowered clocks."""

import time
from types import TracebackType

import psutil
import torch

from eval.nvml import Gpu, open_gpu

# The kernel counts processor time in steps of 10 ms a core.
FOREIGN_SHARE = 0.25
FOREIGN_LEAST_S = 0.04


class Watch:
    """Watches over short stretches of work: ``begin()``, the work, then ``disturbance()``.

    Args:
        device: where the work is done.
        workers: processes besides this one that do it.
    """

    def __init__(self, device: torch.device, workers: frozenset[int] = frozenset()) -> None:
        self._device = device
        self._processes = [psutil.Process(), *map(psutil.Process, workers)]
        self._gpu: Gpu | None = None
        self._own_processes: frozenset[int] = frozenset()

    def __enter__(self) -> "Watch":
        """Look who is there: whoever computes on the GPU now is taken for part of the set-up."""
        self._gpu = open_gpu(self._device)
        if self._gpu is not None:
            self._own_processes = self._gpu.processes()
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def begin(self) -> None:
        """Start a stretch."""
        self._wall = time.monotonic()
        self._foreign = self._foreign_cpu_s()

    def disturbance(self) -> str | None:
        """Return what disturbed the stretch since ``begin()``, or None."""
        if self._gpu is not None:
            if self._gpu.processes() - self._own_processes:
                return "another process on the GPU"
            return self._gpu.throttling()
        foreign = self._foreign_cpu_s() - self._foreign
        limit = max(FOREIGN_SHARE * (time.monotonic() - self._wall), FOREIGN_LEAST_S)
        return "other processes on the CPU" if foreign > limit else None

    def _foreign_cpu_s(self) -> float:
        """Return the processor time, over all cores, that went to others than the processes of this work."""
        busy = psutil.cpu_times()
        others = sum(getattr(busy, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))
        own = [process.cpu_times() for process in self._processes]
        return others - sum(times.user + times.system for times in own)
