"""One model's failure, in whatever phase and of whatever kind, is its own row; the others' figures stay."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import typer
from torch import Tensor, nn

from eval.cli import session as session_module
from eval.cli.session import Session
from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.device import placing
from eval.errors import EngineError, RunError, UsageError
from eval.inference.upscaler import Upscaler
from eval.records.current import complete_ones, current
from eval.records.record import Mean, State
from eval.records.store import read_records, write_record
from eval.report import board
from eval.run.launch import Launch
from eval.run.model_source import WithoutWeights, ZooModel, zoo_models
from eval.zoo.manifest import find_model
from tests.deadly import BICUBIC, Source
from tests.records.test_record import changed, make_record
from tests.report.test_headline import years_of

SPEC = find_model("Bicubic").model_copy(update={"id": 9, "name": "Failing", "data_range": 1.0})
ERRORS = [
    ValueError("only even sizes"),
    IndexError("out of range"),
    AssertionError("a check"),
    torch.OutOfMemoryError("x"),
]


class Nearest(nn.Module):
    """Enlarges by repeating, and raises an error from its ``after``-th image on."""

    def __init__(self, error: BaseException | None = None, after: int = 0) -> None:
        super().__init__()
        self.error, self.left = error, after

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.error is not None and self.left < 0:
            raise self.error
        return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


@dataclass(frozen=True)
class Failing(Source):
    """A model that fails in one phase."""

    phase: str
    error: BaseException
    network: Nearest = field(default_factory=Nearest)

    @property
    def info(self):
        return WithoutWeights(SPEC, RunError("")).info

    @contextmanager
    def open(self, config: RunConfig, _largest) -> Iterator[Upscaler]:
        if self.phase == "opening":
            raise self.error
        network = Nearest(self.error, 1) if self.phase == "second image" else self.network
        device = torch.device(config.device)
        loaded = Upscaler(SPEC, network, device)
        if self.phase == "moving to the device":
            network.to = self._fail
        yield loaded

    def _fail(self, _device) -> None:
        raise self.error


@pytest.fixture
def session(tmp_path: Path, monkeypatch):
    for change in ("keep_freed_memory", "freeze_imports"):
        monkeypatch.setattr(session_module, change, lambda: None)

    def make(protocol: str, redo: bool = True, images: bool = False, **changes) -> Session:
        out = tmp_path / "out"
        config = RunConfig(device="cpu", protocol=protocol, threads=1, **changes)
        return Session(config, out, Launch(None, out if images else None, redo))

    yield make
    torch.set_num_threads(1)


def test_two_sets_of_one_name_are_refused(session, hr_folder: Path, tmp_path: Path):
    for name in ("a/b", "a_b", "a/c"):
        shutil.copytree(hr_folder, tmp_path / name)
    run = session("accuracy")
    with pytest.raises(UsageError, match=r"a/b and .*/a_b hold two sets that are both called a_b in tables; rename"):
        run.open(tmp_path, ["a/b", "a_b"])
    assert [its.name for its in run.open(tmp_path, ["a/b", "a/c", "a/b"])] == ["a_b", "a_c", "a_b"]


def ended(run: Session, dataset) -> int:
    with pytest.raises(typer.Exit) as caught:
        run.finish(valid=dataset.name)
    return caught.value.exit_code


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("phase", ["opening", "moving to the device", "second image"])
def test_an_error_of_any_kind_in_any_phase_is_that_models_row(
    session, hr_folder: Path, tmp_path: Path, capsys, phase: str, error: Exception
):
    run, dataset = session("accuracy"), open_dataset(hr_folder, None)
    run.run([Failing(phase, error), BICUBIC], [dataset])
    assert ended(run, dataset) == 1
    failed, other = run.records
    assert (failed.status, other.status) == ("failed", "complete")
    assert len(failed.images) == (1 if phase == "second image" else 0)
    if isinstance(error, torch.OutOfMemoryError):
        assert failed.state is State.OUT_OF_MEMORY
    else:
        assert f"{type(error).__name__}: {error}" in failed.reason
    (log,) = (tmp_path / "out" / "logs").iterdir()
    assert type(error).__name__ in log.read_text()
    assert "Traceback" in log.read_text()
    said = capsys.readouterr()
    assert str(log) in said.err
    assert "09_Failing" in said.out.partition("Did not run")[2]


@pytest.mark.parametrize(
    "error",
    # The last one leaves the device whole.
    [ValueError("only even sizes"), MemoryError(), RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")],
    ids=lambda error: type(error).__name__,
)
def test_an_error_in_the_speed_pass_costs_the_others_nothing(session, hr_folder: Path, error: Exception):
    run, dataset = session("steady"), open_dataset(hr_folder, None)
    # Two images of the accuracy pass, then the first ones of the speed pass.
    failing = Failing("none", error, Nearest(error, 5))
    others = [BICUBIC, ZooModel(BICUBIC.spec.model_copy(update={"id": 8, "name": "Twin"}), None)]
    run.run([failing, *others], [dataset])
    states = {record.model.label: (record.status, record.timing is not None) for record in run.records}
    assert states["09_Failing"] == ("failed", False)
    assert {states[model.info.label][1] for model in others} == {True}
    failed = next(record for record in run.records if record.model.label == "09_Failing")
    assert failed.reason.startswith("while it was timed: ")
    # Its accuracy pass stays on record.
    assert len(failed.images) == 2
    ratios = {record.timing.ratio.baseline for record in run.records if record.timing and record.timing.ratio}
    assert ratios == {"Bicubic"}


def test_a_dead_device_ends_the_speed_pass_with_its_reason(session, hr_folder: Path, tmp_path: Path, monkeypatch):
    """No other model could be timed by this process; what was measured before stays on record."""
    run, dataset = session("steady"), open_dataset(hr_folder, None)
    error = RuntimeError("CUDA error: an illegal memory access was encountered")

    def fail(_device: torch.device) -> None:
        raise error

    monkeypatch.setattr(placing, "finish", fail)
    with pytest.raises(RunError, match=r"09_Failing has made the device unusable .* times them"):
        run.run([Failing("none", error, Nearest(error, 5)), BICUBIC], [dataset])
    (failed,) = (record for record in read_records(tmp_path / "out" / "records") if record.status == "failed")
    assert (failed.model.label, failed.state) == ("09_Failing", State.DEVICE_FAILED)
    assert failed.reason == f"while it was timed: {error}"


def test_models_without_weights_are_rows_and_none_at_all_is_an_error(session, hr_folder: Path, monkeypatch):
    monkeypatch.delenv("ESR_WEIGHTS", raising=False)
    monkeypatch.setenv("ESR_CACHE", str(hr_folder / "no-cache"))
    run, dataset = session("accuracy"), open_dataset(hr_folder, None)
    run.run(zoo_models([find_model("RLFN"), find_model("ABPN")]), [dataset])
    missing, ran = run.records
    assert (missing.state, ran.status) == (State.MISSING_CHECKPOINT, "complete")
    assert missing.reason == "its weights are not on this machine; python -m eval fetch weights --model_id 0"
    with pytest.raises(RunError, match="Run: python -m eval fetch weights --model_id 0"):
        zoo_models([find_model("RLFN"), find_model("DIPNet")])


def test_an_engine_that_cannot_run_a_model_is_its_row_and_is_tried_again(session, hr_folder: Path):
    run, dataset = session("accuracy"), open_dataset(hr_folder, None)
    run.run([Failing("opening", EngineError("--engine x: needs a compiler")), BICUBIC], [dataset])
    assert [record.state for record in run.records] == [State.ENGINE_FAILED, State.RAN]
    again = session("accuracy", redo=False)
    again.run([Failing("opening", EngineError("--engine x: needs a compiler")), BICUBIC], [dataset])
    assert again.records[0].started_at < again.records[1].started_at
    started = {record.model.label: record.started_at for record in run.records}
    kept = {record.model.label: record.started_at == started[record.model.label] for record in again.records}
    assert kept == {"09_Failing": False, "Bicubic": True}


def test_a_new_steady_run_is_what_its_table_shows(session, hr_folder: Path):
    dataset = open_dataset(hr_folder, None)
    models = [BICUBIC, Failing("none", ValueError())]
    groups = []
    for preset in ("rapid", "quick", "rapid"):
        run = session("steady", preset=preset, redo=preset == "rapid")
        run.run(models, [dataset])
        groups.append({record.timing.group for record in run.records if record.timing})
        rows = complete_ones(current(read_records(run.save_dir / "records")))
        shown = {record.timing.group for record in rows if record.timing}
        assert shown == groups[-1]
    assert len(set().union(*groups)) == 3


def test_images_that_are_gone_are_made_again(tmp_path: Path, session, hr_folder: Path, capsys):
    dataset = open_dataset(hr_folder, None)
    folder = tmp_path / "out" / "Bicubic" / "photos"
    for left in (2, 1, 2):
        for path in sorted(folder.glob("*.png"))[left:]:
            path.unlink()
        session("accuracy", redo=False, images=True).run([BICUBIC], [dataset])
        assert len(list(folder.glob("*.png"))) == 2
    assert capsys.readouterr().out.count("on record: Bicubic on photos") == 1


def test_ctrl_c_writes_the_tables_of_what_is_finished(session, hr_folder: Path, tmp_path: Path, capsys):
    run, dataset = session("accuracy"), open_dataset(hr_folder, None)
    with pytest.raises(typer.Exit) as caught:
        run.run([BICUBIC, Failing("second image", KeyboardInterrupt())], [dataset])
    assert caught.value.exit_code == 130
    assert "Bicubic" in (tmp_path / "out" / "results.txt").read_text()
    assert "09_Failing on photos interrupted after 1 of 2 images\n" in capsys.readouterr().err


def test_ctrl_c_before_the_first_image_ends_a_command_as_later(session, hr_folder: Path, tmp_path: Path):
    with pytest.raises(typer.Exit) as caught:
        session("accuracy").run([Failing("opening", KeyboardInterrupt())], [open_dataset(hr_folder, None)])
    assert caught.value.exit_code == 130
    assert (tmp_path / "out" / "results.txt").exists()


def test_a_log_that_cannot_be_written_costs_no_row(session, hr_folder: Path, tmp_path: Path, capsys):
    run, dataset = session("accuracy"), open_dataset(hr_folder, None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "logs").touch()
    run.run([Failing("opening", ValueError("x")), BICUBIC], [dataset])
    assert [record.status for record in run.records] == ["failed", "complete"]
    assert "it is in the record" in capsys.readouterr().err


def test_a_second_run_that_fails_leaves_the_first_in_every_table(session, hr_folder: Path, tmp_path: Path):
    dataset = open_dataset(hr_folder, None)
    first = session("accuracy")
    first.run([Failing("none", ValueError())], [dataset])
    first.finish(valid=dataset.name)
    before = (tmp_path / "out" / "results.csv").read_text()
    second = session("accuracy")
    second.run([Failing("second image", OSError(28, "No space left on device"))], [dataset])
    assert second.records[0].state is State.IO_FAILED
    assert ended(second, dataset) == 1
    assert (tmp_path / "out" / "results.csv").read_text() == before
    assert "No space left on device" in (tmp_path / "out" / "leaderboard.md").read_text()
    statuses = [json.loads(path.read_text())["status"] for path in (tmp_path / "out" / "records").iterdir()]
    assert sorted(statuses) == ["complete", "failed"]


def test_the_headline_of_a_run_on_both_halves_is_that_of_both(session, monkeypatch, capsys):
    """A model that fails the gate of the test images is not first, whatever it does on the validation images.

    It is that of the newest edition whose baseline is there: for the others, as 2024's, no board is made.
    """
    made, make_board = [], board.make_board
    monkeypatch.setattr(board, "make_board", lambda *given: made.append(given[2].year) or make_board(*given))
    run = session("official")
    sets = {"valid": (27.1, 27.2), "test": (26.0, 27.3)}
    for half, psnrs in sets.items():
        its = {"name": f"DIV2K_LSDIR_{half}", "layout": "challenge", "num_images": 200}
        for label, psnr_db, ms in (("05_SPAN", psnrs[0], 1.0), ("00_RLFN", psnrs[1], 5.0), ("03_PFDNLite", 27.3, 2.0)):
            record = changed(make_record((psnr_db,), label=label), dataset=its)
            record = changed(record, means=record.means | {"runtime_ms": Mean(mean=ms, count=1)})
            write_record(changed(record, key=f"{half}{label}"), run.save_dir / "records")
            run.records.append(record)
    run.finish("DIV2K_LSDIR_valid", "DIV2K_LSDIR_test")
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("is first of") == 2
    assert printed.count("03_PFDNLite is first of") == 2
    assert made == years_of("SPAN")[:1] * 2
