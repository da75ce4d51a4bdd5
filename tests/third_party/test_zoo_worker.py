"""Networks of the zoo in workers: the same pixels as in this process, by the clock of submissions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.cli.running import Asked
from eval.config import RunConfig
from eval.data.arrays import dataset_of_arrays
from eval.data.images import ImageSize
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.run.launch import resolved
from eval.run.model_source import ZooModel, zoo_model
from eval.run.tasks import EvaluationTask
from eval.third_party.kinds import SandboxKind
from eval.third_party.submission import Rules
from eval.third_party.zoo_worker import ZooInWorker, arguments_in_words, on_one_clock
from eval.zoo.from_file import parse_model_args
from eval.zoo.manifest import all_models, find_model

LARGEST = ImageSize(16, 20)
RULES = Rules(SandboxKind.NONE)


@pytest.fixture
def ours() -> ZooModel:
    return zoo_model(find_model("PFDNLite"), "selftrained")


def in_worker(model: ZooModel) -> ZooInWorker:
    assert model.checkpoint
    return ZooInWorker(model.spec, model.checkpoint, RULES)


def test_a_network_gives_in_a_worker_the_pixels_that_it_gives_here(ours: ZooModel):
    lr = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    config = resolved(RunConfig(protocol="accuracy", device="cpu", engine="eager", threads=1))
    with ours.open(config, LARGEST) as here, in_worker(ours).open(config, LARGEST) as there:
        (expected, _), (found, runtime_ms) = here(lr), there(lr)
        analysis, its = here.analyse(), there.analyse()
    assert np.array_equal(found, expected)
    assert runtime_ms > 0
    assert its.complexity == analysis.complexity
    # Its weights are loaded as they are: nothing had to be mended for it.
    assert there.info == here.info.model_copy(update={"in_worker": True, "shims": ()})


def test_times_of_a_worker_are_not_on_record_for_this_process(ours: ZooModel):
    lr = np.zeros((16, 20, 3), np.uint8)
    dataset = dataset_of_arrays([(lr, np.zeros((64, 80, 3), np.uint8))], "black")
    config = resolved(RunConfig(protocol="accuracy", device="cpu", engine="eager"))
    here, there = (EvaluationTask(model, dataset, config) for model in (ours, in_worker(ours)))
    assert here.key != there.key
    # Its images are those of the same model.
    assert here.images_key == there.images_key


def test_weights_that_changed_meanwhile_are_refused(ours: ZooModel, tmp_path: Path):
    assert ours.checkpoint
    (tmp_path / "other.safetensors").write_bytes(b"other")
    model = ZooInWorker(ours.spec, replace(ours.checkpoint, path=tmp_path / "other.safetensors"), RULES)
    with (
        pytest.raises(CannotRunError, match="changed while it was being loaded") as caught,
        model.open(resolved(RunConfig(device="cpu")), LARGEST),
    ):
        pass
    assert caught.value.state is State.REFUSED


def test_every_network_s_arguments_survive_being_written():
    for spec in all_models():
        assert parse_model_args(arguments_in_words(spec)) == spec.arguments, spec.label
    spec = find_model("PFDNLite").model_copy(update={"arguments": {"a": [1, 2.5], "b": "x y", "c": True}})
    assert parse_model_args(arguments_in_words(spec)) == spec.arguments


def test_the_zoo_runs_in_workers_beside_third_party_code_alone(ours: ZooModel, tmp_path: Path):
    bicubic = zoo_model(find_model("-1"))
    assert on_one_clock([ours, bicubic]) == [ours, bicubic]
    (tmp_path / "net.py").write_text("class Net: ...")
    asked = Asked(model_file=f"{tmp_path / 'net.py'}:Net", data_range=1.0, reference="PFDNLite,-1", sandbox="none")
    first, second, third = asked.sources(resolved(RunConfig(device="cpu", protocol="steady")))
    assert isinstance(first, ZooInWorker)
    assert first.rules.sandbox is SandboxKind.NONE
    assert isinstance(second, ZooModel)
    assert third.info.name == "Net"
