"""SR images of one model never take the place of another's."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.data.images import write_png
from eval.errors import RunError
from eval.run.images_folders import give_up_unused, images_folder
from eval.run.model_source import WithoutWeights, zoo_model
from eval.run.processes import carry_out
from eval.run.tasks import EvaluationTask
from eval.zoo.manifest import find_model
from tests.tasks import config_of

PLAIN = config_of(tile=None)


class WithDither(RunConfig):
    """A configuration with a field of one's own."""

    dither: float = 0.0


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
        folder = images_folder(task, tmp_path / "out", records)
        record = carry_out(replace(task, images_dir=folder), lambda _result: None)
        assert record.complete
        assert tmp_path / "out" / record.images_folder == folder
        assert len(list(folder.glob("*.png"))) == 2
        records.append(record)
        return record.images_folder

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
        ({"dither": 0.25}, "08_ABPN-a-dither-0-25"),
    ],
)
def test_where_no_record_is_kept_the_name_alone_tells(hr_folder: Path, tmp_path: Path, manner: dict, name: str):
    config = WithDither(**dict(PLAIN) | manner)
    task = EvaluationTask(with_weights(tmp_path, "a.pth", 0), open_dataset(hr_folder, None), config)
    assert images_folder(task, tmp_path / "sr", [], kept=False) == tmp_path / "sr" / name / "photos"
    assert images_folder(task, tmp_path / "out", []) == tmp_path / "out" / "08_ABPN" / "photos"


def test_what_was_written_before_folders_were_kept_belongs_to_its_weights(hr_folder: Path, tmp_path: Path):
    task = EvaluationTask(with_weights(tmp_path, "a.pth", 0), open_dataset(hr_folder, None), PLAIN)
    old = carry_out(task, lambda _result: None)
    assert old.images_folder is None
    out, other = tmp_path / "out", replace(task, model=with_weights(tmp_path, "b.pth", 1))
    assert images_folder(task, out, [old]) == out / "08_ABPN" / "photos"
    assert images_folder(other, out, [old]) == out / "08_ABPN-b" / "photos"


def test_two_commands_at_once_write_to_two_folders(hr_folder: Path, tmp_path: Path):
    """Neither has a record that the other one could read."""
    out, dataset = tmp_path / "out", open_dataset(hr_folder, None)
    first, second = (
        EvaluationTask(with_weights(tmp_path, f"{name}.pth", name == "b"), dataset, PLAIN) for name in "ab"
    )
    assert images_folder(first, out, []) == out / "08_ABPN" / "photos"
    for _ in range(2):
        assert images_folder(second, out, []) == out / "08_ABPN-b" / "photos"
        assert images_folder(first, out, []) == out / "08_ABPN" / "photos"
    # Who deletes the images deletes the claim.
    shutil.rmtree(out / "08_ABPN")
    assert images_folder(replace(second, config=PLAIN.replaced(precision="bf16")), out, []).parent.name == "08_ABPN"


def test_a_folder_that_no_image_was_written_to_is_nobodys(hr_folder: Path, tmp_path: Path):
    """As of a model whose weights were not there: with them, it has its plain name."""
    out, dataset = tmp_path / "out", open_dataset(hr_folder, None)
    task = EvaluationTask(WithoutWeights(find_model("ABPN"), RunError("x")), dataset, PLAIN)
    folder = images_folder(task, out, [])
    record = carry_out(replace(task, images_dir=folder), lambda _result: None)
    give_up_unused([folder])
    assert (record.images_folder, list(out.rglob("*"))) == ("08_ABPN/photos", [])
    found = replace(task, model=with_weights(tmp_path, "a.pth", 0))
    assert images_folder(found, out, [record]) == folder
    write_png(folder / "image0.png", np.zeros((48, 64, 3), np.uint8))
    give_up_unused([folder, out / "absent"])
    assert sorted(path.name for path in folder.iterdir()) == [".images_key", "image0.png"]


def test_a_folder_that_cannot_be_claimed_is_told_by_its_first_image(hr_folder: Path, tmp_path: Path):
    (tmp_path / "out").touch()
    task = EvaluationTask(with_weights(tmp_path, "a.pth", 0), open_dataset(hr_folder, None), PLAIN)
    assert images_folder(task, tmp_path / "out", []) == tmp_path / "out" / "08_ABPN" / "photos"


def test_labels_that_differ_by_case_alone_have_two_folders(ran, hr_folder: Path, tmp_path: Path):
    """Some disks take them for one."""
    task = EvaluationTask(with_weights(tmp_path, "a.pth", 0), open_dataset(hr_folder, None), PLAIN)
    spec = task.model.spec
    upper, lower = (
        replace(task, model=replace(task.model, spec=spec.model_copy(update={"id": -1, "name": name})))
        for name in ("net-Net", "net-net")
    )
    assert (ran(upper), ran(lower)) == ("net-Net/photos", "net-net-a/photos")
