"""SR images of one model never take the place of another's."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eval.data.datasets import open_dataset
from eval.inference.engines.registry import Execution
from eval.records.record import Protocol
from eval.run.images_folders import images_folder
from eval.run.model_source import Placement, zoo_model
from eval.run.processes import carry_out
from eval.run.tasks import Task
from eval.zoo.manifest import find_model

PLAIN = Placement("cpu", None, threads=1)


def with_weights(folder: Path, name: str, seed: int):
    torch.manual_seed(seed)
    spec = find_model("ABPN")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(spec.build().state_dict(), path)
    return zoo_model(spec, str(path))


@pytest.fixture
def ran(hr_folder: Path, tmp_path: Path):
    """Carry out a task whose images go where they belong, given the records so far; returns folder and record."""
    records: list = []

    def run(task: Task) -> str:
        folder = images_folder(task, records)
        record = carry_out(replace(task, images_dir=tmp_path / "out" / folder), lambda _result: None)
        assert record.complete
        assert record.images_folder == folder
        assert len(list((tmp_path / "out" / folder).iterdir())) == 2
        records.append(record)
        return folder

    return run


def test_other_weights_precisions_engines_and_tiles_get_folders_of_their_own(ran, hr_folder: Path, tmp_path: Path):
    task = Task(with_weights(tmp_path, "epoch10.pth", 0), open_dataset(hr_folder, None), PLAIN, Protocol.ACCURACY)
    half, other = (Execution("eager", "bf16"), Execution("channels-last"))
    assert ran(task) == "08_ABPN/photos"
    assert ran(replace(task, contender=with_weights(tmp_path, "epoch20.pth", 1))) == "08_ABPN-epoch20/photos"
    assert ran(replace(task, placement=replace(PLAIN, execution=half))) == "08_ABPN-epoch10-bf16/photos"
    assert ran(replace(task, placement=replace(PLAIN, execution=other))) == "08_ABPN-epoch10-channels-last/photos"
    assert ran(replace(task, placement=replace(PLAIN, tile=8))) == "08_ABPN-epoch10-tile8/photos"
    # Again, or timed, or with more figures: the same pixels.
    assert ran(task) == "08_ABPN/photos"
    assert ran(replace(task, protocol=Protocol.OFFICIAL, with_ssim=True)) == "08_ABPN/photos"
    assert ran(replace(task, contender=with_weights(tmp_path, "epoch20.pth", 1))) == "08_ABPN-epoch20/photos"


def test_weights_of_one_name_are_told_apart_by_the_key(ran, hr_folder: Path, tmp_path: Path):
    dataset = open_dataset(hr_folder, None)
    first, second, third = (
        Task(with_weights(tmp_path / run, "latest.pth", seed), dataset, PLAIN, Protocol.ACCURACY)
        for seed, run in enumerate("abc")
    )
    assert ran(first) == "08_ABPN/photos"
    assert ran(second) == "08_ABPN-latest/photos"
    assert ran(third) == f"08_ABPN-{third.images_key[:8]}/photos"


def test_what_was_written_before_folders_were_kept_belongs_to_its_weights(hr_folder: Path, tmp_path: Path):
    task = Task(with_weights(tmp_path, "a.pth", 0), open_dataset(hr_folder, None), PLAIN, Protocol.ACCURACY)
    old = carry_out(task, lambda _result: None)
    assert old.images_folder is None
    assert images_folder(task, [old]) == "08_ABPN/photos"
    assert images_folder(replace(task, contender=with_weights(tmp_path, "b.pth", 1)), [old]) == "08_ABPN-b/photos"
