"""Overlapping stages: order, bounds, the first failure, interrupts, and no thread left behind."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from eval.run.pipeline import Stages, run_side_by_side, run_stages

SERIAL, PARALLEL = {"workers": 0, "depth": 1}, {"workers": 3, "depth": 2}


def stages_of(**changes) -> Stages:
    usual = {"read": lambda item: item, "work": lambda x: x * 10, "finish": lambda item, x, y: (item, x, y)}
    return Stages(**(usual | changes))


def failing(at: int, error: BaseException, pause_s: float = 0):
    def stage(item, *_rest):
        if item == at:
            time.sleep(pause_s)
            raise error
        return item

    return stage


def results_until_error(results: Iterator) -> tuple[list, BaseException | None]:
    done = []
    try:
        for result in results:
            done.append(result)
    except BaseException as error:
        return done, error
    return done, None


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("overlap", [SERIAL, PARALLEL, {"workers": 1, "depth": 1}])
@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_results_are_a_loops(overlap: dict[str, int], count: int):
    assert list(run_stages(range(count), stages_of(), **overlap)) == [(i, i, i * 10) for i in range(count)]


def test_slow_items_do_not_change_the_order():
    def finish(item, *_):
        time.sleep(0.02 * (item % 3 == 0))
        return item

    assert list(run_stages(range(12), stages_of(finish=finish), **PARALLEL)) == list(range(12))


def test_the_work_is_the_callers_threads():
    threads = set()
    list(run_stages(range(6), stages_of(work=lambda _x: threads.add(threading.current_thread())), **PARALLEL))
    assert threads == {threading.current_thread()}


def test_stages_overlap():
    meeting = threading.Barrier(3, timeout=120)

    def meet(item, *_):
        # Item 2 is read, and item 0 finished, while item 1 is worked on.
        meeting.wait()
        return item

    stages = Stages(
        read=lambda item: meet(item) if item == 2 else item,
        work=lambda item: meet(item) if item == 1 else item,
        finish=lambda item, *_: meet(item) if item == 0 else item,
    )
    assert list(run_stages(range(3), stages, workers=2, depth=1)) == [0, 1, 2]


@pytest.mark.parametrize("stage", ["read", "work", "finish"])
@pytest.mark.parametrize("overlap", [SERIAL, PARALLEL])
def test_a_failure_comes_after_all_items_before_it(stage: str, overlap: dict[str, int]):
    stages = stages_of(**{stage: failing(4, ValueError("four"))})
    done, error = results_until_error(run_stages(range(9), stages, **overlap))
    assert [result if stage == "finish" else result[0] for result in done] == [0, 1, 2, 3]
    assert str(error) == "four"


def test_of_two_failures_the_earlier_items_counts_even_if_it_comes_later():
    stages = stages_of(finish=failing(3, OSError("disk full"), pause_s=0.1), work=failing(4, ValueError("network")))
    done, error = results_until_error(run_stages(range(9), stages, **PARALLEL))
    assert done == [0, 1, 2]
    assert str(error) == "disk full"


def test_ctrl_c_while_working_keeps_what_was_worked_on():
    def finish(item, *_):
        time.sleep(0.02)
        return item

    stages = stages_of(finish=finish, work=failing(5, KeyboardInterrupt()))
    done, error = results_until_error(run_stages(range(9), stages, **PARALLEL))
    assert done == [0, 1, 2, 3, 4]
    assert isinstance(error, KeyboardInterrupt)


def test_nothing_is_started_after_the_consumer_stops():
    started = []
    results = run_stages(range(100), stages_of(read=lambda item: started.append(item) or item), **PARALLEL)
    next(results)
    results.close()
    assert len(started) < 12


def _niceness(*_rest) -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
def test_workers_give_way_to_the_network():
    own = _niceness()
    stages = Stages(
        read=_niceness, work=lambda read: (read, _niceness()), finish=lambda _, __, out: (*out, _niceness())
    )
    for read, work, finish in run_stages(range(4), stages, **PARALLEL):
        assert (read, work, finish) == (max(own, 10), own, max(own, 10))


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
def test_workers_of_a_nice_process_stay_as_nice(monkeypatch: pytest.MonkeyPatch):
    given = []
    monkeypatch.setattr(os, "getpriority", lambda *_: 15)
    monkeypatch.setattr(os, "setpriority", lambda _which, _who, niceness: given.append(niceness))
    assert list(run_stages(range(2), stages_of(), workers=1, depth=1)) == [(0, 0, 0), (1, 1, 10)]
    assert given == [15]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_as_many_items_are_read_ahead_as_the_depth_says(depth: int):
    ahead, read = threading.Event(), []

    def reading(item):
        read.append(item)
        if len(read) == depth + 1:
            ahead.set()
        return item

    def work(item):
        # Items 1 to depth are read while item 0 is worked on, and no more.
        assert item or ahead.wait(30)
        return len(read) if item == 0 else 0

    results = list(run_stages(range(20), stages_of(read=reading, work=work), workers=1, depth=depth))
    assert results[0] == (0, 0, depth + 1)


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_items_wait_to_be_finished_than_the_depth_says(depth: int):
    full, one_more = threading.Event(), threading.Event()

    def work(item):
        if item == depth:
            full.set()
        elif item == depth + 1:
            one_more.set()

    def finish(item, *_):
        # Behind item 0 the depth's items may wait; the next one is not worked on before item 0 is done.
        return item or (full.wait(30), one_more.wait(0.2))

    results = list(run_stages(range(20), stages_of(work=work, finish=finish), workers=2, depth=depth))
    assert results == [(True, False), *range(1, 20)]


def side_by_side(whole, count: int = 9, streams: int = 2) -> Iterator:
    return run_side_by_side(range(count), whole, streams, lambda: None)


@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_side_by_side_results_are_a_loops(count: int):
    def whole(item: int) -> int:
        time.sleep(0.01 * (item % 3 == 0))
        return item * 10

    assert list(side_by_side(whole, count)) == [item * 10 for item in range(count)]


def test_items_are_side_by_side_each_in_one_thread():
    meeting, begun = threading.Barrier(2, timeout=120), []
    list(run_side_by_side(range(2), lambda _item: meeting.wait(), 2, lambda: begun.append(threading.get_ident())))
    assert len(set(begun)) == 2
    assert threading.get_ident() not in begun


def test_a_slow_item_does_not_hold_the_others_up():
    done, first = [], threading.Event()

    def whole(item: int) -> int:
        if item == 0:
            assert first.wait(120)
        done.append(item)
        if len(done) == 5:
            first.set()
        return item

    assert list(side_by_side(whole)) == list(range(9))


def test_side_by_side_a_failure_comes_after_all_items_before_it():
    done, error = results_until_error(side_by_side(failing(4, ValueError("four"), pause_s=0.05)))
    assert done == [0, 1, 2, 3]
    assert str(error) == "four"


def test_side_by_side_ctrl_c_keeps_what_has_begun():
    begun, waiting = [], threading.Event()

    def whole(item: int) -> int:
        begun.append(item)
        assert item < 2 or waiting.wait(120)
        return item

    def items() -> Iterator[int]:
        yield from range(4)
        while len(begun) < 4:
            time.sleep(0.01)
        yield from range(4, 7)
        threading.Timer(0.2, waiting.set).start()
        raise KeyboardInterrupt

    done, error = results_until_error(run_side_by_side(items(), whole, 2, lambda: None))
    assert isinstance(error, KeyboardInterrupt)
    # Two had ended, two had begun; those that had not are left.
    assert done == [0, 1, 2, 3] == begun
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def test_side_by_side_nothing_is_started_after_the_consumer_stops():
    started = []
    results = side_by_side(lambda item: started.append(item) or item, 100)
    next(results)
    results.close()
    count = len(started)
    time.sleep(0.05)
    assert len(started) == count < 100


def test_side_by_side_nothing_begins_after_a_failure():
    begun = []

    def whole(item: int) -> int:
        begun.append(item)
        if item == 0:
            time.sleep(0.1)
        if item == 1:
            raise ValueError("one")
        return item

    done, error = results_until_error(side_by_side(whole, 9))
    assert (done, str(error), begun) == ([0], "one", [0, 1])


def test_side_by_side_ctrl_c_gives_up_the_last_items_first(monkeypatch: pytest.MonkeyPatch):
    """Given up from the front, an item that begins meanwhile would follow one that never comes."""
    submitted, given_up, waiting = [], [], threading.Event()
    submit, cancel = ThreadPoolExecutor.submit, Future.cancel
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *args: submitted.append(submit(*args)) or submitted[-1])
    monkeypatch.setattr(Future, "cancel", lambda future: given_up.append(future) or cancel(future))

    def items() -> Iterator[int]:
        yield from range(5)
        waiting.set()
        raise KeyboardInterrupt

    done, _ = results_until_error(run_side_by_side(items(), lambda item: waiting.wait(120) and item, 2, lambda: None))
    assert given_up[:5] == submitted[::-1]
    assert done == list(range(len(done)))
