"""Carrying out tasks: here, several times over, or side by side in processes of their own."""

import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import cycle, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as connections_with_news
from multiprocessing.context import SpawnProcess

import torch

from eval.device.memory import freeze_imports, keep_freed_memory
from eval.device.placing import equal_gpus
from eval.records.record import ImageResult, Record
from eval.run.interrupts import hold_ctrl_c
from eval.run.runner import averaged, carry_out_once
from eval.run.tasks import EvaluationTask, lost

_PR_SET_PDEATHSIG = 1


def carry_out(task: EvaluationTask, on_image: Callable[[ImageResult], None]) -> Record:
    """Carry out a task in this process; if it has several runs, each in one of its own, with a cold start of its own.

    Runs end with the first that is not complete, or by ctrl-C; the record then holds the finished ones' mean times.
    """
    runs = task.config.runs
    if runs == 1:
        return carry_out_once(task, on_image)
    single, records, ending = replace(task, config=task.config.replaced(runs=1)), [], None
    try:
        while len(records) < runs:
            ((_, record),) = carry_out_all([single], 1)
            if not record.complete:
                ending = record
                break
            records.append(record)
            for image in record.images:
                on_image(image)
        hold_ctrl_c()
    except KeyboardInterrupt:
        hold_ctrl_c()
        if not records:
            raise
        ending = records[-1].model_copy(update={"status": "interrupted", "reason": "interrupted"})
    return _together(task, records, ending)


def _together(task: EvaluationTask, records: Sequence[Record], ending: Record | None) -> Record:
    """Return the record of the finished runs, which ends as the last one did if not all are finished."""
    made = averaged(records) if records or ending is None else ending
    changed: dict[str, object] = {"key": task.key, "config": task.config}
    if not records:
        changed["settings"] = made.settings.model_copy(update={"runs": task.config.runs})
    if ending is not None:
        reason = f"run {len(records) + 1} of {task.config.runs}: {ending.reason}"
        changed |= {"status": ending.status, "state": ending.state, "reason": reason, "traceback": ending.traceback}
    return made.model_copy(update=changed)


def carry_out_all(tasks: Sequence[EvaluationTask], jobs: int) -> Iterator[tuple[EvaluationTask, Record]]:
    """Carry out tasks side by side in processes of their own; yields each as it is done.

    Processes take one task after another, until one is not completed: an error may have left the device unusable for
    its process. A task of the official protocol has one for itself, since its first image counts, cold. Where tasks ask
    for any GPU, processes are spread over those of the first one's kind.

    A task whose process dies (the system's memory ran out, a crash) is tried once more at the end, with nothing
    beside it; if its process dies again, its record says so, and the others go on. When this process dies, so do
    all of them.
    """
    unlucky = []
    for task, record in _in_processes(tasks, jobs):
        if record is None:
            unlucky.append(task)
        else:
            yield task, record
    for task, record in _in_processes(unlucky, 1):
        reason = "its process was killed twice, by the system or by a crash; free some memory, or use a smaller --tile"
        yield task, record or lost(task, reason)


def _in_processes(tasks: Sequence[EvaluationTask], jobs: int) -> Iterator[tuple[EvaluationTask, Record | None]]:
    """Yield each task with its record, or with None if its process died."""
    waiting = deque(tasks)
    # One after another they run on one: cards of a kind differ, too.
    gpus = equal_gpus(torch.device(tasks[0].config.device)) if tasks and jobs > 1 else []
    # A process that ends leaves its GPU to its successor.
    free = list(islice(cycle(gpus or [None]), jobs))
    running: dict[Connection, tuple[SpawnProcess, EvaluationTask, str | None]] = {}
    try:
        while waiting or running:
            while waiting and free:
                gpu = free.pop(0)
                connection, process = _start(gpu)
                running[connection] = process, waiting.popleft(), gpu
                _send(connection, running[connection][1])
            news = connections_with_news(running)
            for connection in [its for its in running if its in news]:
                process, task, gpu = running[connection]
                record = _received(connection)
                goes_on = record is not None and record.complete and not task.config.is_timed
                if goes_on and waiting:
                    running[connection] = process, waiting.popleft(), gpu
                    _send(connection, running[connection][1])
                else:
                    del running[connection]
                    _end(connection, process)
                    free.append(gpu)
                yield task, record
    finally:
        for connection, (process, *_) in running.items():
            _end(connection, process)


def _start(gpu: str | None) -> tuple[Connection, SpawnProcess]:
    """Start a process that waits for tasks, and sees this GPU alone if one is given."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(theirs, gpu), daemon=True)
    with _ctrl_c_held_back(), _main_left_out():
        process.start()
    theirs.close()
    return ours, process


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Let a process be started that ctrl-C does not reach before it has said that it ignores it."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_left_out() -> Iterator[None]:
    """Let a process be started that does not run this one's script anew: without a guard that would begin all again."""
    main = vars(sys.modules["__main__"])
    # What Python hands on to the process, which then runs it; no task needs a class of it.
    handed_on = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.update(dict.fromkeys(handed_on))
    try:
        yield
    finally:
        main.update(handed_on)


def _send(connection: Connection, task: EvaluationTask) -> None:
    """Send a task to a process; one that has died does not take it, and is found out when its record is waited for."""
    with suppress(OSError):
        connection.send(task)


def _received(connection: Connection) -> Record | None:
    """Return the record that a process sends, None if it died; an error of the task's is raised here."""
    try:
        answer = connection.recv()
    # It may have died before it sent anything, or in the middle of it.
    except (EOFError, OSError):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _end(connection: Connection, process: SpawnProcess) -> None:
    connection.close()
    process.kill()
    process.join()


def _serve(connection: Connection, gpu: str | None) -> None:
    """Carry out the tasks that come, until none does. Ctrl-C is left to the process that sends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if gpu is not None:
        # CUDA reads it when it is first used.
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            connection.send(carry_out_quietly(task))
        except Exception as error:
            connection.send(error)


def carry_out_quietly(task: EvaluationTask) -> Record:
    """Carry out a task in a process that was started for it."""
    if not task.config.is_timed:
        keep_freed_memory()
        freeze_imports()
    return carry_out(task, lambda _result: None)
