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
from typing import Any, Generic, TypeVar

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


def run_stages(
    items: Iterable[Item], stages: Stages[Item, Input, Output, Result], workers: int, depth: int
) -> Generator[Result, None, None]:
    """Yield the result of each item, in order.

    If a stage of an item raises, the results of all items before it are yielded first, then the error is raised;
    so it is always the first failing item's. An interrupt (ctrl-C) yields what has passed the work, then goes on. No
    thread is left behind, however the iteration ends.

    Args:
        items: what is worked on.
        stages: what happens to each.
        workers: threads that read and finish; 0 for one stage after another, all in the caller's thread.
        depth: items that may be read ahead, and as many that may wait to be finished.
    """
    if not workers:
        for item in items:
            inputs = stages.read(item)
            yield stages.finish(item, inputs, stages.work(inputs))
        return
    pool = ThreadPoolExecutor(workers, "stage", _lower_priority)
    yield from _in_order(pool, _worked(items, stages, pool, depth), depth)


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
    yield from _in_order(pool, ((unless_failed, item) for item in items), _AHEAD * streams, gives_up=True)


def _in_order(
    pool: ThreadPoolExecutor, calls: Iterable[tuple], most: int, gives_up: bool = False
) -> Generator[Any, None, None]:
    """Yield the result of each call, in order, and end the pool; up to ``most`` calls wait for the first of them.

    An interrupt yields what was handed to the pool, then goes on; with ``gives_up``, what has not begun is left out.
    """
    waiting: deque[Future] = deque()
    try:
        for call in calls:
            waiting.append(pool.submit(*call))
            del call
            while waiting and (len(waiting) > most or waiting[0].done()):
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    except GeneratorExit:
        raise
    except BaseException:
        if gives_up:
            # From the back: an item that begins meanwhile must not follow one that was cancelled.
            waiting = deque([future for future in reversed(waiting) if not future.cancel()][::-1])
        while waiting:
            yield _first(waiting)
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
