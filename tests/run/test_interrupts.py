"""Ctrl-C while what is finished is being kept: it waits for that, and then it comes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.records.record import Record
from eval.records.store import read_records
from eval.run import evaluation, keeper, processes, tasks
from eval.run.evaluation import BrokenOffError, Evaluation
from eval.run.interrupts import ctrl_c_after_keeping, hold_ctrl_c
from eval.run.launch import Launch
from eval.run.model_source import ZooModel
from eval.run.observer import Observer
from eval.run.runner import carry_out_once
from eval.run.tasks import EvaluationTask
from tests.run.test_runner import timing_of
from tests.tasks import BICUBIC

OTHER = ZooModel(BICUBIC.spec.model_copy(update={"name": "Other"}), None)


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def with_ctrl_c(function: Callable) -> Callable:
    """Return a function that gets ctrl-C when it is called for the first time, and does what it does."""
    calls = []

    def call(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            ctrl_c()
        return function(*given)

    return call


def here(waiting: Sequence[EvaluationTask], _jobs: int) -> Iterator[tuple[EvaluationTask, Record]]:
    """Carry out tasks in this process, as others would."""
    return ((task, carry_out_once(task, lambda _result: None)) for task in waiting)


class Impatient(Observer):
    """Somebody who presses ctrl-C after the first image."""

    @contextmanager
    def progress(self, *_words: Any) -> Iterator[Callable[[object], None]]:
        yield with_ctrl_c(lambda _done: None)


@pytest.fixture
def broken_off(hr_folder: Path, tmp_path: Path) -> Callable[..., list[Record]]:
    """Run models until ctrl-C ends it; return what was kept."""

    def run(*models: ZooModel, observer: Observer | None = None, jobs: int = 1, **asked: Any) -> list[Record]:
        config = RunConfig(**{"protocol": "accuracy", "device": "cpu", "engine": "eager", "threads": 1} | asked)
        before = signal.getsignal(signal.SIGINT)
        made = Evaluation(config, Launch(save_dir=tmp_path / "out", jobs=jobs), observer)
        with pytest.raises(KeyboardInterrupt) as caught:
            made.run(models, [open_dataset(hr_folder, None)])
        assert signal.getsignal(signal.SIGINT) is before
        kept = read_records(tmp_path / "out" / "records")
        assert (len(kept) > 0, caught.type) == (True, BrokenOffError)
        return kept

    return run


def test_a_second_ctrl_c_costs_no_image(broken_off, monkeypatch):
    monkeypatch.setattr(tasks, "describe_environment", with_ctrl_c(tasks.describe_environment))
    (record,) = broken_off(BICUBIC, OTHER, observer=Impatient())
    assert (record.status, record.reason) == ("interrupted", "interrupted after 1 of 2 images")


@pytest.mark.parametrize(("module", "name"), [(tasks, "describe_environment"), (keeper, "write_record")])
def test_ctrl_c_after_the_last_image_costs_none(broken_off, monkeypatch, module: ModuleType, name: str):
    monkeypatch.setattr(module, name, with_ctrl_c(getattr(module, name)))
    (record,) = broken_off(BICUBIC, OTHER)
    assert (record.model.label, record.complete, len(record.images)) == ("Bicubic", True, 2)


def test_nor_where_models_run_side_by_side(broken_off, monkeypatch):
    monkeypatch.setattr(evaluation, "carry_out_all", here)
    monkeypatch.setattr(keeper, "write_record", with_ctrl_c(keeper.write_record))
    (record,) = broken_off(BICUBIC, OTHER, jobs=2)
    assert (record.model.label, record.complete) == ("Bicubic", True)


def test_nor_where_runs_are_averaged(broken_off, monkeypatch):
    monkeypatch.setattr(processes, "carry_out_all", here)
    monkeypatch.setattr(processes, "averaged", with_ctrl_c(processes.averaged))
    (record,) = broken_off(BICUBIC, protocol="official", runs=2)
    assert (record.complete, record.settings.runs) == (True, 2)


def test_nor_where_models_are_timed_together(broken_off, monkeypatch):
    def measured(models, *_limits) -> list:
        return [timing_of(((10.0,), (10.0,)), dropped={}) for _ in models]

    monkeypatch.setattr("eval.run.speed_pass.measure_together", measured)
    monkeypatch.setattr(evaluation, "with_timing", with_ctrl_c(evaluation.with_timing))
    kept = broken_off(BICUBIC, OTHER, protocol="steady")
    timed = [record.model.label for record in kept if record.timing]
    assert sorted(timed) == ["Bicubic", "Other"]


def in_a_block(*steps: Callable[[], object]) -> None:
    with ctrl_c_after_keeping():
        for step in steps:
            step()


def test_ctrl_c_comes_at_once_before_anything_is_to_be_kept_and_at_the_end_after_that():
    done = []
    with pytest.raises(KeyboardInterrupt):
        in_a_block(ctrl_c, lambda: done.append("never"))
    with pytest.raises(KeyboardInterrupt):
        in_a_block(hold_ctrl_c, ctrl_c, lambda: done.append("kept"))
    # What a block inside another one holds is its own.
    with pytest.raises(KeyboardInterrupt):
        in_a_block(lambda: in_a_block(hold_ctrl_c), ctrl_c, lambda: done.append("never"))
    assert done == ["kept"]


def test_an_error_is_not_hidden_by_ctrl_c():
    def fail() -> None:
        raise ValueError("a full disk")

    with pytest.raises(ValueError, match="a full disk"):
        in_a_block(hold_ctrl_c, ctrl_c, fail)


def test_in_another_thread_nothing_changes():
    def elsewhere(*steps: Callable[[], object]) -> None:
        thread = threading.Thread(target=in_a_block, args=steps)
        thread.start()
        thread.join()

    before, found = signal.getsignal(signal.SIGINT), []
    elsewhere(hold_ctrl_c, lambda: found.append(signal.getsignal(signal.SIGINT)))
    assert found == [before]
    # Nor does it hold what the main thread does.
    with pytest.raises(KeyboardInterrupt):
        in_a_block(lambda: elsewhere(hold_ctrl_c), ctrl_c, lambda: found.append("never"))
    assert found == [before]


def test_where_it_is_ignored_it_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ctrl_c_after_keeping(held=True):
            ctrl_c()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
