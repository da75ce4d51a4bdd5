"""Items side by side, or stages that overlap; order and results are those of a loop.

Side by side, each of a few threads takes an item from its reading to its end, so none waits for another. In stages, the
work happens in the caller's thread, one item after another; reading and finishing in threads of lower priority, which
take the time of the CPU that the work leaves. What waits between the stages is bounded, so a slow disk or a slow metric
slows the work down instead of filling the memory.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Input = TypeVar("Input")
Output = TypeVar("Output")
Result = TypeVar("Result")
# Of the workers' threads, in the units of nice(1): the network's threads wait for each other, so they go first.
_LOWER_PRIORITY = 10
# Items a stream that have begun or wait to: small results, so a slow item holds none of the others up.
_AHEAD = 4


@dataclass(frozen=True)
class Stages(Generic[Item, Input, Output, Result]):
    """What happens to an item: ``read`` and ``finish`` in any thread, ``work`` in the caller's."""

    read: Callable[[Item], Input]
    work: Callable[[Input], Output]
    finish: Callable[[Item, Input, Output], Result]


@dataclass(frozen=True)
class Overlap:
    """How far stages overlap.

    Attributes:
        workers: threads that read and finish; 0 for one stage after another, all in the caller's thread.
        depth: items that may be read ahead, and as many that may wait to be finished.
    """

    workers: int
    depth: int


def run_stages(
    items: Iterable[Item], stages: Stages[Item, Input, Output, Result], overlap: Overlap
) -> Generator[Result, None, None]:
    """Yield the result of each item, in order.

    If a stage of an item raises, the results of all items before it are yielded first, then the error is raised;
    so it is always the first failing item's. An interrupt (ctrl-C) yields what has passed the work, then goes on. No
    thread is left behind, however the iteration ends.
    """
    if not overlap.workers:
        for item in items:
            inputs = stages.read(item)
            yield stages.finish(item, inputs, stages.work(inputs))
        return
    finishing: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(overlap.workers, "stage", _lower_priority)
    try:
        for finish in _worked(items, stages, pool, overlap.depth):
            finishing.append(pool.submit(*finish))
            del finish
            while finishing and (len(finishing) > overlap.depth or finishing[0].done()):
                yield _first(finishing)
        while finishing:
            yield _first(finishing)
    except GeneratorExit:
        raise
    except BaseException:
        while finishing:
            yield _first(finishing)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def run_side_by_side(
    items: Iterable[Item], whole: Callable[[Item], Result], streams: int, begin: Callable[[], None]
) -> Generator[Result, None, None]:
    """Yield the result of each item, in order; so many threads take an item each, from end to end.

    If an item raises, no other begins, the results of all items before it are yielded, then the error is raised. An
    interrupt (ctrl-C) yields what has begun, then goes on. No thread is left behind, however the iteration ends.

    Args:
        items: what is worked on.
        whole: all that happens to an item; several threads call it at once.
        streams: how many.
        begin: is called first by each thread.
    """
    running: deque[Future[Result]] = deque()
    failed = threading.Event()

    def unless_failed(item: Item) -> Result:
        if failed.is_set():
            raise CancelledError
        try:
            return whole(item)
        except BaseException:
            failed.set()
            raise

    pool = ThreadPoolExecutor(streams, "stream", begin)
    try:
        for item in items:
            running.append(pool.submit(unless_failed, item))
            while running and (len(running) > _AHEAD * streams or running[0].done()):
                yield _first(running)
        while running:
            yield _first(running)
    except GeneratorExit:
        raise
    except BaseException:
        # From the back: an item that begins meanwhile must not follow one that was cancelled.
        begun = [future for future in reversed(running) if not future.cancel()]
        running = deque(reversed(begun))
        while running:
            yield _first(running)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _worked(items: Iterable[Item], stages: Stages, pool: ThreadPoolExecutor, depth: int) -> Iterator[tuple]:
    """Read ahead and work; yield each call that finishes an item."""
    waiting = iter(items)
    reading = deque((item, pool.submit(stages.read, item)) for item in islice(waiting, depth))
    while reading:
        item, future = reading.popleft()
        reading.extend((item, pool.submit(stages.read, item)) for item in islice(waiting, 1))
        inputs = future.result()
        # Nothing here may hold an image that has gone on.
        del future
        yield stages.finish, item, inputs, stages.work(inputs)
        del inputs


def _first(finishing: deque[Future[Result]]) -> Result:
    """Wait for the first item; if it failed, forget those behind it."""
    try:
        result = finishing[0].result()
    except Exception:
        finishing.clear()
        raise
    finishing.popleft()
    return result


def _lower_priority() -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # A process under a higher nice(1) may not go back.
        os.setpriority(os.PRIO_PROCESS, thread, max(os.getpriority(os.PRIO_PROCESS, thread), _LOWER_PRIORITY))
