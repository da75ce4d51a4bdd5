"""torch.cuda as it would be called on a machine with two GPUs: every call is written down, in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch


class FakeCuda:
    """Stands in for torch.cuda. ``calls`` holds each call, with the device that was current."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.current = 0
        self.stream_now = "main"
        self.pools = 0
        # How many captures fail when they end, as one does in which the network waited for the GPU.
        self.broken_captures = 0
        # How many delays end before all is queued behind them.
        self.short_delays = 0
        names = (
            "_sleep Event Stream CUDAGraph device stream graph synchronize empty_cache current_stream set_stream "
            "graph_pool_handle current_device"
        )
        for name in names.split():
            patch.setattr(torch.cuda, name, getattr(self, name))
        patch.setattr(torch._C, "_cuda_endAllocateToPool", self.end_pool, raising=False)
        patch.setattr(torch._C, "_cuda_releasePool", self.release_pool, raising=False)

    def say(self, what: str) -> None:
        self.calls.append(f"{what} on {self.current}")

    def Event(self, enable_timing: bool) -> SimpleNamespace:  # noqa: N802
        assert enable_timing
        owner = self.current
        return SimpleNamespace(
            record=lambda: self.say(f"record of {owner}"),
            elapsed_time=lambda _end: self.say("elapsed") or 7.0,
            query=lambda: self.say("query") or self.calls.count(f"query on {self.current}") <= self.short_delays,
        )

    def _sleep(self, ticks: int) -> None:
        self.say(f"delay of {ticks}")

    def Stream(self) -> SimpleNamespace:  # noqa: N802
        self.say("new stream")
        return SimpleNamespace(name="side", wait_stream=lambda other: self.say(f"side waits for {other.name}"))

    def current_stream(self) -> SimpleNamespace:
        name = self.stream_now
        return SimpleNamespace(name=name, wait_stream=lambda other: self.say(f"{name} waits for {other.name}"))

    def set_stream(self, stream: Any) -> None:
        self.stream_now = stream.name

    def current_device(self) -> int:
        return self.current

    def end_pool(self, device: int, pool: str) -> None:
        self.say(f"end of pool {pool} of {device}")

    def release_pool(self, device: int, pool: str) -> None:
        self.say(f"release of pool {pool} of {device}")

    def CUDAGraph(self) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(replay=lambda: self.say("replay"))

    def graph_pool_handle(self) -> str:
        self.pools += 1
        return f"pool{self.pools}"

    def synchronize(self, device: torch.device) -> None:
        self.say(f"finish {device}")

    def empty_cache(self) -> None:
        self.say("release")

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device.index or 0
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.say(f"in {stream.name}")
        before, self.stream_now = self.stream_now, stream.name
        try:
            yield
        finally:
            self.stream_now = before
        self.say(f"out of {stream.name}")

    @contextmanager
    def graph(self, _graph: Any, **options: Any) -> Iterator[None]:
        self.say(f"capture {options.get('pool')} {options['stream'].name} {options['capture_error_mode']}")
        before, self.stream_now = self.stream_now, options["stream"].name
        try:
            yield
        finally:
            if self.broken_captures:
                # As torch does it: the end of a broken capture raises before the stream is left.
                self.broken_captures -= 1
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self.stream_now = before
        self.say("captured")
