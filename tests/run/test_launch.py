"""Half precision where the processor cannot: refused with the command that is faster, unless it is forced."""

import pytest

from eval.config import RunConfig
from eval.errors import UsageError
from eval.run import launch
from eval.run.launch import note_on_half_precision, resolved
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
