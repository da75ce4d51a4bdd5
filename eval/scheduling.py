"""Tasks: one model on one set each. What makes two of them the same, and carrying them out, here or side by side."""

import ctypes
import hashlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as connections_with_news
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from eval.contenders import Contender, Placement
from eval.datasets import Dataset
from eval.environment import describe_environment, machine_state
from eval.images import ImageSize
from eval.memory import freeze_imports, keep_freed_memory
from eval.record import ImageResult, Protocol, Record, Settings, State
from eval.runner import Job, averaged, dataset_info, run
from eval.subject import CannotRunError, Examination

PROJECT = Path(__file__).resolve().parent.parent
_PR_SET_PDEATHSIG = 1
# What a user mends outside of the key's reach is tried again.
_RETRIED = (State.MISSING_CHECKPOINT, State.MISSING_DEPENDENCY, State.NEEDS_OPERATOR, State.REFUSED)


@dataclass(frozen=True)
class Task:
    """One model on one set, described well enough to be carried out in any process.

    Attributes:
        images_dir: where SR images are written, or None.
        runs: of which the times are averaged, each in a process of its own.
        examined: what is known of the network already, or None.
    """

    contender: Contender
    dataset: Dataset
    placement: Placement
    protocol: Protocol
    with_ssim: bool = False
    images_dir: Path | None = None
    runs: int = 1
    examined: Examination | None = None

    @cached_property
    def key(self) -> str:
        """The hash of everything that the figures depend on; weights and images are read for it, once."""
        info, placement = self.contender.info, self.placement
        parts = {
            "model": [info.label, info.origin, info.source_sha256, info.weights_sha256, info.data_range],
            "data": [self.dataset.name, self.dataset.sha256],
            "protocol": [self.protocol, self.runs, self.with_ssim],
            "placement": [placement.device, str(placement.tile), placement.tile_overlap, _threads(placement)],
            "execution": [placement.execution.engine, placement.execution.precision],
            "machine": [torch.__version__, _device_name(placement.device)],
            "images": self.images_dir is not None,
        }
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_final(record: Record) -> bool:
    """Tell whether a record answers its task, so that the task need not be carried out again."""
    disturbed = record.timing is not None
    return record.complete or (record.status == "failed" and record.state not in _RETRIED and not disturbed)


def carry_out(task: Task, on_image: Callable[[ImageResult], None]) -> Record:
    """Carry out a task in this process (each run in one of its own, if there are several); a failure is a record."""
    if task.runs > 1:
        return _carry_out_runs(task, on_image)
    if task.placement.threads is not None:
        torch.set_num_threads(task.placement.threads)
    started_at = datetime.now(UTC)
    try:
        with task.contender.open(task.placement, largest_lr(task.dataset)) as subject:
            job = Job(
                subject,
                task.dataset,
                task.protocol,
                task.with_ssim,
                task.images_dir,
                task.examined,
                task.placement.workers,
            )
            record = run(job, on_image)
    except CannotRunError as error:
        record = _failed(task, started_at, error.state, str(error))
    return record.model_copy(update={"key": task.key})


def largest_lr(dataset: Dataset) -> ImageSize:
    """Return the size of a set's largest LR image."""
    return max(dataset.lr_sizes, key=lambda size: size.height * size.width)


def carry_out_all(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Record]]:
    """Carry out tasks side by side in processes of their own; yields each as it is done.

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


def lost(task: Task, reason: str) -> Record:
    """Return the record of a task whose process died, as it does when memory runs out."""
    return _failed(task, datetime.now(UTC), State.OUT_OF_MEMORY, reason).model_copy(update={"key": task.key})


def _in_processes(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Record | None]]:
    """Yield each task with its record, or with None if its process died."""
    waiting = deque(tasks)
    running: dict[Connection, tuple[SpawnProcess, Task]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                connection, process = _start()
                running[connection] = process, waiting.popleft()
                connection.send(running[connection][1])
            for connection in connections_with_news(list(running)):
                process, task = running[connection]
                record = _received(connection)
                if record is not None and waiting:
                    running[connection] = process, waiting.popleft()
                    connection.send(running[connection][1])
                else:
                    del running[connection]
                    _end(connection, process)
                yield task, record
    finally:
        for connection, (process, _) in running.items():
            _end(connection, process)


def _start() -> tuple[Connection, SpawnProcess]:
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _received(connection: Connection) -> Record | None:
    """Return the record that a process sends, None if it died; an error of the task's is raised here."""
    try:
        answer = connection.recv()
    except (EOFError, ConnectionError):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _end(connection: Connection, process: SpawnProcess) -> None:
    connection.close()
    process.kill()
    process.join()


def _serve(connection: Connection) -> None:
    """Carry out the tasks that come, until none does. Ctrl-C is left to the process that sends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            connection.send(carry_out_quietly(task))
        except Exception as error:
            connection.send(error)


def carry_out_quietly(task: Task) -> Record:
    """Carry out a task in a process that was started for it."""
    if not task.placement.as_template:
        keep_freed_memory()
        freeze_imports()
    return carry_out(task, lambda _result: None)


def _carry_out_runs(task: Task, on_image: Callable[[ImageResult], None]) -> Record:
    """Carry out a task several times, each with a cold start of its own; the first incomplete record ends it."""
    single, records = replace(task, runs=1), []
    for _ in range(task.runs):
        ((_, record),) = carry_out_all([single], 1)
        if not record.complete:
            return record.model_copy(update={"key": task.key})
        records.append(record)
        for image in record.images:
            on_image(image)
    return averaged(records).model_copy(update={"key": task.key})


def _failed(task: Task, started_at: datetime, state: State, reason: str) -> Record:
    """Return the record of a task of which no image was run."""
    device, execution = torch.device(task.placement.device), task.placement.execution
    now = machine_state(device)
    return Record(
        status="failed",
        state=state,
        reason=reason,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        model=task.contender.info,
        dataset=dataset_info(task.dataset),
        settings=Settings(
            protocol=task.protocol,
            device=task.placement.device,
            tile=None,
            tile_overlap=None,
            engine=execution.engine,
            precision=execution.precision,
        ),
        images=(),
        means={},
        complexity=None,
        peak_memory_mib=None,
        peak_memory_method=None,
        environment=describe_environment(device),
        before=now,
        after=now,
    )


def _threads(placement: Placement) -> int:
    return placement.threads or torch.get_num_threads()


@cache
def _device_name(device: str) -> str:
    """Return what the device is, so that figures of another machine are not taken for this one's."""
    environment = describe_environment(torch.device(device))
    return environment.gpu or f"{environment.cpu}, {os.cpu_count()} cores"
