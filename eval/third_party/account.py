"""What an image cost a submission, and what of it no clock of ours would show: work around the timed forward."""

import functools
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from eval.device.pixels import to_tensor
from eval.metrics.figures import FlagCode
from eval.third_party.guard import Used
from eval.words import counted

# A worker only has bytes to move outside of the timed forward. So many times what that takes here is allowed, as its
# outputs can be of another type or order, and then some for threads that wait actively before they sleep.
_MOVING_FACTOR, _WAITING_S = 4.0, 0.01
# Nobody's processes are stopped in no time.
_STOPPING_S = 0.005
_MORE_THREADS = 1.15
# By the clock there is more to allow: others use the machine, too. It shows what waits for a GPU.
_MOVING_S, _MOVING_BYTES_PER_S, _LATE_SHARE = 0.03, 50e6, 0.5
_TRIAL_SIDE = 256
# A flag's code, and what is wrong.
Irregularity = tuple[FlagCode, str]


@dataclass(frozen=True)
class Spent:
    """What one image took, in s; ``around`` the forward are input and output, ``before`` it was others' turn.

    The ``_cpu_s`` are of all processes of the submission, the others by the harness's clock; infinite is what is lost.
    ``ended`` is how many processes ended around the forward.
    """

    forward_s: float
    forward_cpu_s: float
    around_s: float
    around_cpu_s: float
    before_cpu_s: float
    moved_bytes: int
    ended: int = 0

    @classmethod
    def between(
        cls, used: Sequence[Used], before_cpu_s: float, passed_s: tuple[float, float, float], moved_bytes: int
    ) -> "Spent":
        """Return it from what was used before and after input, forward and output, and the time that each took."""
        start, given, done, taken = used
        around_cpu_s = given.cpu_s - start.cpu_s + taken.cpu_s - done.cpu_s
        ended = len(start.pids - given.pids) + len(done.pids - taken.pids)
        put_s, forward_s, get_s = passed_s
        forward_cpu_s = done.cpu_s - given.cpu_s
        return cls(forward_s, forward_cpu_s, put_s + get_s, around_cpu_s, before_cpu_s, moved_bytes, ended)

    def irregularity(self, threads: int, on_cpu: bool) -> Irregularity | None:
        """Return what makes this image's time none that can be compared; of a GPU's work only the clock tells."""
        if self.before_cpu_s == math.inf:
            return "turn", "its processes woke in the turns of others: what they took cannot be told"
        if self.before_cpu_s > _STOPPING_S:
            return "turn", f"{_ms(self.before_cpu_s)} of processor time in the turns of others"
        if self.ended:
            return "late", f"{self.ended} of its processes ended around the forward: what they took cannot be told"
        if not on_cpu:
            slow = self.slowness()
            return ("late", slow) if slow else None
        allowed_s = _WAITING_S * threads + _MOVING_FACTOR * moving_s_per_byte() * self.moved_bytes
        if self.around_cpu_s > allowed_s:
            told = f"{_ms(self.around_cpu_s)} of processor time around a forward of {_ms(self.forward_s)}"
            return "late", f"{told}; to move its bytes, {_ms(allowed_s)} are allowed"
        if self.forward_cpu_s > threads * self.forward_s * _MORE_THREADS + _WAITING_S:
            told = f"{_ms(self.forward_cpu_s)} of processor time in a forward of {_ms(self.forward_s)}"
            return "turn", f"{told}: more than {counted(threads, 'thread')} can use"
        return None

    def slowness(self) -> str | None:
        """Tell that more time passed around the forward than moving bytes takes, which others can be the cause of."""
        late_s = self.around_s - _MOVING_S - self.moved_bytes / _MOVING_BYTES_PER_S
        if late_s <= _LATE_SHARE * self.forward_s:
            return None
        return f"{_ms(self.around_s)} passed around a forward of {_ms(self.forward_s)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


@functools.cache
def moving_s_per_byte() -> float:
    """Return the processor time in s for what a worker does with each byte that it gets or gives, measured once."""
    lr, sr = np.zeros((_TRIAL_SIDE, _TRIAL_SIDE, 3), np.uint8), torch.zeros(1, 3, 4 * _TRIAL_SIDE, 4 * _TRIAL_SIDE)
    return max(_moving_s(lr, sr) for _ in range(3)) / (lr.nbytes + sr.nbytes)


def _moving_s(lr: np.ndarray, sr: torch.Tensor) -> float:
    """Return the processor time of reading an input and of moving an output through a pipe, on both of its ends."""
    read, write = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_drain_s, read)
        start_s = time.thread_time()
        to_tensor(lr, 1.0)
        view = sr.contiguous().numpy().data.cast("B")
        while view:
            view = view[os.write(write, view) :]
        os.close(write)
        return time.thread_time() - start_s + reading.result()


def _drain_s(pipe: int) -> float:
    """Read a pipe to its end, and return the processor time that this thread took for it."""
    start_s = time.thread_time()
    while os.read(pipe, 2**20):
        pass
    os.close(pipe)
    return time.thread_time() - start_s
