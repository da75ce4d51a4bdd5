"""Whether compiling paid: what is timed beside it, what a record keeps of it, and what a run says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eval.inference.engines.registry import Execution
from eval.inference.upscaler import Upscaler
from eval.records.record import Compiled, Record
from eval.run import compiling, runner
from eval.run.evaluation import Evaluation
from eval.run.launch import Launch
from eval.run.model_source import zoo_model
from eval.run.observer import Observer
from eval.run.runner import carry_out_once
from eval.run.tasks import largest_lr
from eval.zoo.manifest import find_model
from tests.deadly import BICUBIC, Source
from tests.tasks import task_of


class Upscaled:
    """An upscaler that says another engine's name and another time for each image."""

    def __init__(self, upscaler: Any, engine: str, times_ms: Iterator[float]) -> None:
        self.upscaler, self.execution, self.times_ms = upscaler, Execution(engine), times_ms
        self.sizes: list[tuple] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.upscaler, name)

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        self.sizes.append(lr.shape)
        return self.upscaler(lr)[0], next(self.times_ms)


@dataclass
class Engines(Source):
    """Bicubic under the names of engines, each with its times."""

    times_ms: dict[str, list[float]]
    opened: list[Upscaled]

    @contextmanager
    def open(self, config, largest) -> Iterator[Upscaled]:
        if config.engine not in self.times_ms:
            raise RuntimeError("no such engine here")
        with super().open(config.replaced(engine="eager"), largest) as upscaler:
            self.opened.append(Upscaled(upscaler, config.engine, iter(self.times_ms[config.engine])))
            yield self.opened[-1]


def source(**times_ms: list[float]) -> Engines:
    return Engines({name.replace("_", "-"): times for name, times in times_ms.items()}, [])


def quiet(_result: object) -> None:
    pass


COMPILED = [1.0, 1.0, 1.0, 900.0, 10.0, 30.0, 20.0, 10.0, 20.0]
BESIDE = [800.0, 25.0, 45.0, 35.0, 25.0, 35.0]


def test_a_compiled_network_is_timed_beside_the_same_one_after_the_set(hr_folder: Path):
    model = source(compiled=COMPILED, channels_last=BESIDE)
    record = carry_out_once(task_of(hr_folder, model, engine="compiled"), quiet)
    its = record.settings.compiled
    assert record.complete
    # Two images of the set and the peak of the larger come before, and the first call of each is left out.
    assert (its.image_ms, its.beside_ms, its.beside) == (20.0, 35.0, "channels-last")
    assert its.ready_s > 0
    assert its.beside_ready_s > 0
    compiled, beside = model.opened
    assert len(compiled.sizes) == 3 + 6
    assert set(beside.sizes) == {compiled.sizes[-1]}
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_what_would_run_in_streams_is_timed_as_many_at_once(hr_folder: Path, monkeypatch: pytest.MonkeyPatch):
    task, lr = task_of(hr_folder, threads=2), np.zeros((16, 16, 3), np.uint8)
    meeting, clock = threading.Barrier(2, timeout=120), iter([3.0, 3.5])
    with BICUBIC.open(task.config, largest_lr(task.dataset)) as model:
        monkeypatch.setattr(Upscaler, "__call__", lambda _self, _lr: (None, 7.0))
        assert compiling._image_ms(task, model, lr) == 7.0
        monkeypatch.setattr(compiling, "streams_of", lambda *_given: 2)
        monkeypatch.setattr(Upscaler, "__call__", lambda _self, _lr: (meeting.wait(), 7.0))
        monkeypatch.setattr(compiling.time, "perf_counter", lambda: next(clock))
        # Half a second for both.
        assert compiling._image_ms(task, model, lr) == 250.0


def test_the_image_whose_size_is_nearest_to_the_mean_is_timed():
    sizes = [SimpleNamespace(height=side, width=10) for side in (4, 30, 70, 200)]
    pairs = [SimpleNamespace(read=lambda side=size.height: (side, None)) for size in sizes]
    task = SimpleNamespace(dataset=SimpleNamespace(lr_sizes=sizes, pairs=pairs))
    assert compiling._middle_image(task) == 70


def test_a_slow_network_is_timed_once_besides_its_first_call(hr_folder: Path, monkeypatch):
    monkeypatch.setattr(compiling, "_MOST_S", 0.0)
    model = source(compiled=COMPILED, channels_last=BESIDE)
    its = carry_out_once(task_of(hr_folder, model, engine="compiled"), quiet).settings.compiled
    assert (its.image_ms, its.beside_ms) == (10.0, 25.0)
    assert len(model.opened[1].sizes) == 2


def test_what_compiles_nothing_is_not_timed(hr_folder: Path):
    model = source(eager=[1.0, 1.0])
    record = carry_out_once(task_of(hr_folder, model), quiet)
    assert record.complete
    assert record.settings.compiled is None
    assert len(model.opened) == 1


def test_figures_stay_where_the_other_engine_cannot_run(hr_folder: Path):
    record = carry_out_once(task_of(hr_folder, source(compiled=COMPILED), engine="compiled"), quiet)
    assert record.complete
    assert record.settings.compiled is None


def test_ctrl_c_while_it_is_timed_keeps_the_images(hr_folder: Path, monkeypatch):
    def interrupt(*_given) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "timed_beside", interrupt)
    record = carry_out_once(task_of(hr_folder, source(compiled=COMPILED), engine="compiled"), quiet)
    assert record.reason == "interrupted after 2 of 2 images"


TOOK = Compiled(ready_s=22.0, image_ms=80.0, beside="channels-last", beside_ready_s=2.0, beside_ms=100.0)


def test_what_it_lost_is_a_sum_over_the_set():
    assert TOOK.lost_s(14) == pytest.approx(20.0 - 14 * 0.02)
    assert TOOK.pays_from == 1000
    assert TOOK.lost_s(1000) == pytest.approx(0)
    assert replace_ms(100.0).pays_from is None


def replace_ms(image_ms: float) -> Compiled:
    return TOOK.model_copy(update={"image_ms": image_ms})


@pytest.mark.parametrize(
    ("took", "said"),
    [
        (
            TOOK,
            "note: --engine compiled took 20.0 s longer over 2 images than channels-last: 22.0 s to start"
            " instead of 2.0 s, 80 ms per image instead of 100 ms; it is faster from 1000 such images on",
        ),
        (
            replace_ms(110.0),
            "note: --engine compiled took 20.0 s longer over 2 images than channels-last: 22.0 s to start"
            " instead of 2.0 s, 110 ms per image instead of 100 ms; it is never faster here",
        ),
        (TOOK.model_copy(update={"ready_s": 1.0}), None),
        (None, None),
    ],
)
def test_a_run_says_where_compiling_was_slower(took: Compiled | None, said: str | None, hr_folder: Path, monkeypatch):
    class Listening(Observer):
        heard: list[str] = []

        def say(self, text: str) -> None:
            self.heard.append(text)

    monkeypatch.setattr(runner, "timed_beside", lambda *_given: took)
    task, observer = task_of(hr_folder), Listening()
    observer.heard = []
    evaluation = Evaluation(task.config, Launch(), observer)
    record = carry_out_once(replace(task, model=zoo_model(find_model("Bicubic"))), quiet)
    settings = record.settings.model_copy(update={"engine": "compiled"})
    evaluation._store(record.model_copy(update={"settings": settings}))
    assert [text for text in observer.heard if "longer" in text] == ([said] if said else [])
