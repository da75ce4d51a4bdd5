"""SR images of one model never take the place of another's."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eval.data.datasets import open_dataset
from eval.run.images_folders import images_folder
from eval.run.model_source import zoo_model
from eval.run.processes import carry_out
from eval.run.tasks import EvaluationTask
from eval.zoo.manifest import find_model
from tests.tasks import config_of

PLAIN = config_of(tile=None)


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

    def run(task: EvaluationTask) -> str:
        folder = images_folder(task, records)
        record = carry_out(replace(task, images_dir=tmp_path / "out" / folder), lambda _result: None)
        assert record.complete
        assert record.images_folder == folder
        assert len(list((tmp_path / "out" / folder).iterdir())) == 2
        records.append(record)
        return folder

    return run


def test_other_weights_precisions_engines_and_tiles_get_folders_of_their_own(ran, hr_folder: Path, tmp_path: Path):
    task = EvaluationTask(with_weights(tmp_path, "epoch10.pth", 0), open_dataset(hr_folder, None), PLAIN)
    assert ran(task) == "08_ABPN/photos"
    assert ran(replace(task, model=with_weights(tmp_path, "epoch20.pth", 1))) == "08_ABPN-epoch20/photos"
    assert ran(replace(task, config=PLAIN.replaced(precision="bf16"))) == "08_ABPN-epoch10-bf16/photos"
    assert ran(replace(task, config=PLAIN.replaced(engine="channels-last"))) == "08_ABPN-epoch10-channels-last/photos"
    assert ran(replace(task, config=PLAIN.replaced(tile=8))) == "08_ABPN-epoch10-tile8/photos"
    # Again, or timed, or with more figures: the same pixels.
    assert ran(task) == "08_ABPN/photos"
    assert ran(replace(task, config=PLAIN.replaced(protocol="official", metrics="psnr,ssim"))) == "08_ABPN/photos"
    assert ran(replace(task, model=with_weights(tmp_path, "epoch20.pth", 1))) == "08_ABPN-epoch20/photos"


def test_weights_of_one_name_are_told_apart_by_the_key(ran, hr_folder: Path, tmp_path: Path):
    dataset = open_dataset(hr_folder, None)
    first, second, third = (
        EvaluationTask(with_weights(tmp_path / run, "latest.pth", seed), dataset, PLAIN)
        for seed, run in enumerate("abc")
    )
    assert ran(first) == "08_ABPN/photos"
    assert ran(second) == "08_ABPN-latest/photos"
    assert ran(third) == f"08_ABPN-{third.images_key[:8]}/photos"


@pytest.mark.parametrize(
    ("manner", "name"),
    [
        ({}, "08_ABPN"),
        ({"precision": "bf16"}, "08_ABPN-a-bf16"),
        ({"engine": "channels-last", "tile": 8}, "08_ABPN-a-channels-last-tile8"),
        ({"device": "cuda", "tf32": True}, "08_ABPN-a-tf32"),
        ({"device": "cuda"}, "08_ABPN"),
        # A CPU has none.
        ({"tf32": True}, "08_ABPN"),
    ],
)
def test_where_no_record_is_kept_the_name_alone_tells(hr_folder: Path, tmp_path: Path, manner: dict, name: str):
    config = PLAIN.replaced(**manner)
    task = EvaluationTask(with_weights(tmp_path, "a.pth", 0), open_dataset(hr_folder, None), config)
    assert images_folder(task, [], kept=False) == f"{name}/photos"
    assert images_folder(task, []) == "08_ABPN/photos"


def test_what_was_written_before_folders_were_kept_belongs_to_its_weights(hr_folder: Path, tmp_path: Path):
    task = EvaluationTask(with_weights(tmp_path, "a.pth", 0), open_dataset(hr_folder, None), PLAIN)
    old = carry_out(task, lambda _result: None)
    assert old.images_folder is None
    assert images_folder(task, [old]) == "08_ABPN/photos"
    assert images_folder(replace(task, model=with_weights(tmp_path, "b.pth", 1)), [old]) == "08_ABPN-b/photos"
