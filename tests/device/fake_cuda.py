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
        # How many delays end before all is queued behind them.
        self.short_delays = 0
        names = (
            "_sleep Event Stream CUDAGraph device stream graph synchronize empty_cache current_stream graph_pool_handle"
        )
        for name in names.split():
            patch.setattr(torch.cuda, name, getattr(self, name))

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
        return SimpleNamespace(name="main", wait_stream=lambda other: self.say(f"main waits for {other.name}"))

    def CUDAGraph(self) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(replay=lambda: self.say("replay"))

    def graph_pool_handle(self) -> str:
        return "pool"

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
        yield
        self.say(f"out of {stream.name}")

    @contextmanager
    def graph(self, _graph: Any, **options: Any) -> Iterator[None]:
        self.say(f"capture {options.get('pool')} {options['stream'].name} {options['capture_error_mode']}")
        yield
        self.say("captured")
