"""What ``auto`` took on a first run is its word on the next, as long as nothing has changed that it rests on."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.errors import RunError
from eval.metrics.figures import ModelAnalysis
from eval.records.record import Record, Settings
from eval.records.store import read_records, write_record
from eval.run import keeper
from eval.run.evaluation import Evaluation
from eval.run.keeper import Keeper
from eval.run.keys import Machine
from eval.run.launch import Launch
from eval.run.model_source import zoo_model
from eval.run.observer import Observer
from eval.run.processes import carry_out
from eval.run.tasks import EvaluationTask
from eval.zoo.manifest import find_model
from tests.deadly import BICUBIC
from tests.records.test_record import changed, make_record
from tests.tasks import config_of

ABPN = zoo_model(find_model("ABPN"), "selftrained")
ASKED = config_of(engine="auto")
LEFT_OUT = ("other (why)",)


@pytest.fixture
def task(hr_folder: Path) -> EvaluationTask:
    """A task for which auto took an engine; nothing is counted, so that it runs in no time."""
    decided = {"engine_asked": "auto", "left_out": LEFT_OUT, "analysis": ModelAnalysis()}
    return EvaluationTask(ABPN, open_dataset(hr_folder, None), config_of(engine="channels-last"), **decided)


@pytest.fixture
def record(task: EvaluationTask) -> Record:
    return carry_out(task, lambda _result: None)


def word(folder: Path, record: Record, config: RunConfig = ASKED, info=ABPN.info) -> Settings | None:
    """Return what a folder that holds this record says of auto."""
    write_record(record, folder / "records")
    return Keeper(folder, None, False, Observer()).engine_taken_before(info, config)


def test_its_word_stays_with_what_it_left_out(record: Record, tmp_path: Path, hr_folder: Path):
    taken = word(tmp_path, record)
    assert (taken.engine, taken.left_out) == ("channels-last", LEFT_OUT)
    # Whatever is measured, and on another set.
    assert word(tmp_path, record, ASKED.replaced(metrics=("psnr", "ssim"))) == taken
    hr_folder.rename(tmp_path / "others")
    asked = RunConfig(protocol="accuracy", device="cpu", engine="auto", threads=1)
    evaluation = Evaluation(asked, Launch(save_dir=tmp_path, redo=False))
    task = evaluation._task(ABPN, open_dataset(tmp_path / "others", None))
    assert (task.config.engine, task.engine_asked, task.left_out) == ("channels-last", "auto", LEFT_OUT)


def test_a_folder_is_read_once_and_what_is_stored_is_known(task: EvaluationTask, tmp_path: Path, monkeypatch):
    reads = []
    monkeypatch.setattr(keeper, "read_records", lambda folder: reads.append(folder) or read_records(folder))
    launch = Launch(save_dir=tmp_path / "out", images_dir=tmp_path / "out", redo=False)
    evaluation = Evaluation(task.config.replaced(engine="eager"), launch)
    for _ in range(2):
        evaluation.run([BICUBIC], [task.dataset])
    first, second = evaluation.records
    assert first is second
    assert reads == [tmp_path / "out" / "records"]


def test_a_file_that_is_no_record_is_told_before_anything_runs(tmp_path: Path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "torn.json").write_text("{")
    for places in ((tmp_path, None), (None, tmp_path)):
        with pytest.raises(RunError, match=r"torn\.json: not a record of schema version 1 .*; move it out"):
            Evaluation(ASKED, Launch(*places))


def test_figures_are_told_where_a_damaged_record_takes_their_place(record: Record, tmp_path: Path):
    class Told(Observer):
        def failed_to_store(self, record: Record) -> None:
            lost.append(record)

    lost: list[Record] = []
    kept = Keeper(tmp_path, None, True, Told())
    path = write_record(record, tmp_path / "records")
    path.write_text("{")
    with pytest.raises(RunError, match=f"these figures could not be written: .*{path.name}: not a record"):
        kept.store(record)
    assert lost == [record]


def test_a_record_of_which_tables_show_a_newer_one_does_not_answer(tmp_path: Path):
    """Else the tables of a command would show figures that it did not ask for."""
    said: list[str] = []

    class Told(Observer):
        def say(self, line: str) -> None:
            said.append(line)

    untimed = {"settings": {"protocol": "accuracy"}}
    first = make_record(key="a" * 64, figures_key="1", **untimed)
    second = make_record((29.0, 19.0), key="b" * 64, figures_key="2", second=1, **untimed)
    # Of the same making, with more in it, as that of two metrics.
    third = make_record((29.0, 19.0), key="c" * 64, figures_key="2", second=2, **untimed)
    for record in (first, second):
        write_record(record, tmp_path / "records")
    kept = Keeper(tmp_path, None, False, Told())
    assert kept.answers(["a" * 64, "b" * 64]) == {"b" * 64: second}
    assert said == ["again    03_PFDNLite on Set2: tables show a newer record, made otherwise"]
    kept.store(third)
    assert set(kept.answers(["a" * 64, "b" * 64, "c" * 64])) == {"b" * 64, "c" * 64}
    # What must fail again like this answers all the same.
    failed = make_record(status="failed", state="failed to build", key="d" * 64, figures_key="3", images=(), **untimed)
    kept.store(failed)
    assert kept.answers(["d" * 64]) == {"d" * 64: failed}
    # Measured again, it is the newest.
    kept.store(changed(first, started_at=third.started_at + timedelta(seconds=1)))
    assert set(kept.answers(["a" * 64, "b" * 64, "c" * 64])) == {"a" * 64}


def test_of_times_the_newest_alone_answers(tmp_path: Path):
    kept = Keeper(tmp_path, None, False, Observer())
    for second, key in enumerate("ab"):
        kept.store(make_record(key=key, figures_key="1", second=second))
    assert set(kept.answers("ab")) == {"b"}
    # Those of other machines stand in tables of their own.
    kept.store(make_record(key="c", figures_key="1", second=2, environment={"cpu": "Another"}))
    assert set(kept.answers("abc")) == {"b", "c"}


def test_a_record_whose_images_others_were_written_over_does_not_answer(tmp_path: Path):
    """A run that did not finish takes no row, but some images."""
    lies = {"images_folder": "net-Net/Set2", "images_key": "k"}
    first = make_record(key="a", figures_key="1", **lies)
    broken = make_record(status="interrupted", key="b", figures_key="2", second=1, **lies)
    folder = tmp_path / "net-Net" / "Set2"
    folder.mkdir(parents=True)
    for image in first.images:
        (folder / f"{image.name}.png").touch()
    kept = Keeper(tmp_path, tmp_path, False, Observer())
    kept.store(first)
    assert set(kept.answers("a")) == {"a"}
    kept.store(broken)
    assert not kept.answers("a")
    assert set(Keeper(tmp_path, None, False, Observer()).answers("a")) == {"a"}


@pytest.mark.parametrize("part", ["measuring_sha256", "libraries", "machine"])
def test_other_code_and_another_machine_decide_anew(record: Record, tmp_path: Path, monkeypatch, part: str):
    monkeypatch.setattr(f"eval.run.tasks.{part}", lambda _of: Machine(("another",)))
    assert word(tmp_path, record) is None


@pytest.mark.parametrize("change", [{"threads": 2}, {"precision": "bf16"}, {"tile": 64}])
def test_what_is_asked_otherwise_is_decided_by_itself(record: Record, tmp_path: Path, change: dict):
    assert word(tmp_path, record, ASKED.replaced(**change)) is None


@pytest.mark.parametrize("part", ["weights_sha256", "source_sha256", "label"])
def test_so_is_another_model(record: Record, tmp_path: Path, part: str):
    assert word(tmp_path, record, info=ABPN.info.model_copy(update={part: "0" * 64})) is None


def test_an_engine_that_is_no_more_has_no_word(record: Record, tmp_path: Path):
    assert word(tmp_path, changed(record, settings={"engine": "of old"})) is None


def test_tf32_decides_by_itself_where_there_is_any(task: EvaluationTask, record: Record, tmp_path: Path, monkeypatch):
    assert word(tmp_path, record, ASKED.replaced(tf32=True))
    monkeypatch.setattr("eval.run.tasks.machine", lambda _device: Machine(("A GPU", "1")))
    on_gpu = task.config.replaced(device="cuda", tf32=True)
    record = changed(record, config=on_gpu, figures_key=replace(task, config=on_gpu).figures_key)
    asked = on_gpu.replaced(engine="auto")
    assert word(tmp_path, record, asked).engine == "channels-last"
    assert word(tmp_path, record, asked.replaced(tf32=False)) is None
