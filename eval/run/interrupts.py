"""Ctrl-C that waits while what is finished is being kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class _Hold:
    """Whether ctrl-C waits, and whether it came meanwhile."""

    on: bool = False
    came: bool = False


# Of the blocks that have begun, the innermost last.
_holds: list[_Hold] = []


@contextmanager
def ctrl_c_after_keeping(held: bool = False) -> Iterator[None]:
    """Let ctrl-C wait for the end of a block from where ``hold_ctrl_c`` is called in it, or if ``held`` from its start.

    Python hands signals to the main thread alone: in another one nothing changes, nor where ctrl-C is ignored.
    """
    usual = signal.getsignal(signal.SIGINT)
    if not _is_main_thread() or usual is None or isinstance(usual, int):
        yield
        return
    hold = _Hold(held)

    def wait_or_come(number: int, frame: FrameType | None) -> None:
        if hold.on:
            hold.came = True
        else:
            usual(number, frame)

    _holds.append(hold)
    signal.signal(signal.SIGINT, wait_or_come)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        _holds.remove(hold)
    if hold.came:
        usual(signal.SIGINT, None)


def hold_ctrl_c() -> None:
    """Let ctrl-C wait from now on, in a block of ``ctrl_c_after_keeping``; elsewhere it comes as ever."""
    if _holds and _is_main_thread():
        _holds[-1].on = True


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
