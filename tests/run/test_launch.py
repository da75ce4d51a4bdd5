"""Half precision where the processor cannot: refused with the command that is faster, unless it is forced."""

import pytest

from eval.config import RunConfig
from eval.errors import UsageError
from eval.run import launch
from eval.run.launch import note_on_half_precision, note_on_threads, resolved
from tests.tasks import config_of


@pytest.fixture
def gain(monkeypatch):
    def set_to(value: float) -> None:
        monkeypatch.setattr(launch, "half_precision_gain", lambda _device, _precision: value)

    return set_to


def test_a_processor_that_is_slower_in_it_is_refused(gain):
    gain(0.125)
    config = config_of(precision="bf16")
    with pytest.raises(UsageError, match=r"bf16: a convolution takes 8\.0 times as long as in float32 on this CPU"):
        note_on_half_precision(config, force=False)
    assert "gains nothing: a convolution takes 8.0 times" in note_on_half_precision(config, force=True)


@pytest.mark.parametrize(("value", "told"), [(1.0, True), (1.09, True), (1.1, False), (4.0, False)])
def test_where_it_gains_nothing_a_line_says_so(gain, value: float, told: bool):
    gain(value)
    assert bool(note_on_half_precision(config_of(precision="fp16"), force=False)) == told


def test_nothing_is_measured_for_float32_or_for_a_gpu(monkeypatch):
    monkeypatch.setattr(launch, "half_precision_gain", None)
    assert note_on_half_precision(config_of(), force=False) is None
    assert note_on_half_precision(config_of(precision="bf16", device="cuda"), force=False) is None


@pytest.mark.parametrize(
    ("given", "launcher", "engine"),
    [
        ({"protocol": "accuracy"}, "here", "auto"),
        ({"protocol": "accuracy"}, "ray", "eager"),
        ({"protocol": "accuracy", "engine": "channels-last"}, "here", "channels-last"),
        ({"protocol": "official"}, "here", "eager"),
        ({"protocol": "steady"}, "here", "eager"),
    ],
)
def test_the_engine_by_default(given: dict, launcher: str, engine: str):
    assert resolved(RunConfig(device="cpu", **given), launch.Launch(launcher=launcher)).engine == engine


@pytest.mark.parametrize(
    ("device", "threads", "cpus", "workers"),
    [
        # Every processor computes: a third of them, at least two, take turns with the workers.
        *(("cpu", 1, 1, 1), ("cpu", 2, 2, 2), ("cpu", 4, 4, 2), ("cpu", 16, 16, 6), ("cpu", 64, 64, 8)),
        # The network leaves some.
        *(("cpu", 1, 2, 2), ("cpu", 1, 4, 3), ("cpu", 4, 16, 8), ("cpu", 5, 8, 3)),
        # More threads than processors, and passes side by side that share too few.
        *(("cpu", 8, 2, 2), ("cpu", 1, 0, 1)),
        *(("cuda:1", 8, 2, 2), ("cuda:0", 8, 16, 8), ("mps", 8, 8, 8)),
    ],
)
def test_workers_by_default(device: str, threads: int, cpus: int, workers: int):
    assert launch.workers_beside(device, threads, cpus) == workers


def test_a_run_takes_the_workers_of_its_share_of_the_machine(monkeypatch):
    monkeypatch.setattr(launch, "usable_cpus", lambda: 12)
    asked = RunConfig(device="cpu", protocol="accuracy", threads=3)
    assert resolved(asked).workers == 8
    assert resolved(asked, launch.Launch(jobs=2)).workers == 3
    assert resolved(asked.replaced(workers=0)).workers == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"protocol": "official", "threads": 3}, True),
        ({"protocol": "steady", "threads": 3}, True),
        ({"protocol": "official", "threads": 2}, False),
        ({"protocol": "accuracy", "threads": 3}, False),
        ({"protocol": "official", "threads": 3, "device": "cuda"}, False),
    ],
)
def test_more_threads_than_processors_are_told_where_they_are_timed(monkeypatch, changes: dict, told: bool):
    monkeypatch.setattr(launch, "usable_cpus", lambda: 2)
    words = (
        "--threads 3: this process may use 2 processors, so threads take turns and times are longer; give --threads 2"
    )
    assert note_on_threads(config_of(**changes)) == (words if told else None)
