"""Tasks: what makes two the same, what happens when one's process dies, runs that are averaged."""

import os
import sys
from datetime import UTC, datetime
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from eval.data.arrays import dataset_of_arrays
from eval.data.datasets import open_dataset
from eval.data.images import ImageSize, write_png
from eval.data.resize import imresize
from eval.errors import RunError
from eval.inference import upscaler
from eval.metrics.figures import Flag, ModelAnalysis
from eval.records.record import State
from eval.run import processes
from eval.run.environment import machine_state
from eval.run.evaluation import _kept_apart
from eval.run.failures import CannotRunError
from eval.run.model_source import WithoutWeights, ZooModel, zoo_model
from eval.run.network_source import source_of_module
from eval.run.processes import carry_out, carry_out_all
from eval.run.tasks import EvaluationTask, TaskRun, is_final, largest_lr, record_of, unless_changed
from eval.zoo.manifest import find_model
from tests.deadly import BICUBIC, Deadly, Placed, Source
from tests.run.test_runner import timing_of
from tests.tasks import config_of, task_of

# The longest that a process may take to start and run two small images, on a machine that does other work.
LIMIT_S = 120


@pytest.fixture(autouse=True)
def _bounded_wait(monkeypatch):
    """Let a plan that waits for nothing, or a process that never answers, fail a test and not keep it for ever."""
    wait = processes.connections_with_news

    def bounded(running: dict) -> list:
        assert running, "tasks wait, and no process runs: one that ended did not hand its place on"
        news = wait(running, LIMIT_S)
        assert news, f"none of {len(running)} processes answered within {LIMIT_S} s"
        return news

    monkeypatch.setattr(processes, "connections_with_news", bounded)


def quiet(_result) -> None:
    pass


class Refusing(Source):
    """A model that cannot be opened."""

    def open(self, _config, _largest):
        raise CannotRunError(State.MISSING_DEPENDENCY, "needs mamba_ssm")


def test_a_model_that_cannot_be_opened_is_a_record(hr_folder: Path):
    record = carry_out(task_of(hr_folder, model=Refusing()), quiet)
    assert (record.status, record.state, record.reason) == ("failed", "missing dependency", "needs mamba_ssm")
    assert record.key == task_of(hr_folder).key
    # It may be installed by the next time.
    assert not is_final(record)


def test_a_failure_names_how_the_network_was_to_run(hr_folder: Path):
    task = task_of(hr_folder, Refusing(), engine="channels-last", precision="bf16")
    settings = carry_out(task, quiet).settings
    assert (settings.engine, settings.precision) == ("channels-last", "bf16")
    tiled = task_of(hr_folder, Refusing(), tile=16, tile_overlap=4, protocol="official", runs=3)
    record = carry_out(tiled, quiet)
    assert (record.settings.tile, record.settings.tile_overlap, record.settings.runs) == (16, 4, 3)
    assert record.config == tiled.config


def test_a_failed_run_is_final_and_an_interrupted_one_is_not(hr_folder: Path):
    record = carry_out(task_of(hr_folder), quiet)
    assert record.complete
    assert is_final(record)
    assert not is_final(record.model_copy(update={"status": "interrupted"}))


@pytest.mark.parametrize("state", [state for state in State if state is not State.RAN])
def test_what_a_user_can_mend_is_tried_again(hr_folder: Path, state: State):
    record = carry_out(task_of(hr_folder), quiet).model_copy(update={"status": "failed", "state": state})
    final = {"failed to build", "failed to load", "failed to run", "invalid output"}
    assert is_final(record) == (state.value in final)


def test_a_package_that_a_network_lacks_is_installed_and_the_network_tried_again(
    hr_folder: Path, tmp_path: Path, monkeypatch
):
    (tmp_path / "lacking.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = BICUBIC.spec.model_copy(update={"target": "lacking:Net"})
    record = carry_out(task_of(hr_folder, ZooModel(spec, None)), quiet)
    assert record.state is State.MISSING_DEPENDENCY
    assert record.reason.startswith("No module named 'no_such_package'; install the package")
    assert not is_final(record)


def test_memory_that_is_too_little_for_tiles_is_free_another_time(hr_folder: Path, monkeypatch):
    monkeypatch.setattr(upscaler, "available_bytes", lambda _device: 2**16)
    record = carry_out(task_of(hr_folder, zoo_model(find_model("ABPN"), "selftrained"), tile="auto"), quiet)
    assert (record.state, is_final(record)) == (State.OUT_OF_MEMORY, False)
    assert record.reason.startswith("--tile auto: 0 MiB can be used on cpu, too little for tiles of 64")


def test_weights_that_are_others_when_they_are_loaded_are_of_no_key(hr_folder: Path, tmp_path: Path):
    spec, path = find_model("ABPN"), tmp_path / "mine.pth"
    torch.save(spec.build().state_dict(), path)
    task = task_of(hr_folder, zoo_model(spec, str(path)))
    assert task.key
    path.write_bytes(b"others")
    record = carry_out(task, quiet)
    assert (record.state, is_final(record)) == (State.FILES_CHANGED, False)
    assert record.reason == f"{path}: the file changed after it was found; run it again"


@pytest.mark.parametrize("size", [(40, 52), (40, 56)], ids=["of its size", "of another size"])
def test_an_image_that_changes_after_the_key_was_made_is_of_no_key(hr_folder: Path, random_image, size):
    task = task_of(hr_folder)
    assert task.key
    write_png(hr_folder / "image1.png", random_image(*size, seed=9))
    record = carry_out(task, quiet)
    assert (record.status, record.state) == ("failed", State.FILES_CHANGED)
    told = "an image changed after the set was opened: open the set anew, and run it again"
    assert record.reason.startswith(told)
    assert not is_final(record)
    assert carry_out(task_of(hr_folder), quiet).complete
    (hr_folder / "image1.png").unlink()
    assert unless_changed(carry_out(task_of(hr_folder), quiet), task).reason == told


def test_an_image_of_the_same_size_and_time_is_another_one_all_the_same(hr_folder: Path):
    """As PNG without compression has it, and tools that keep times."""
    file = hr_folder / "image1.png"

    def write(value: int) -> tuple[int, int]:
        cv2.imwrite(str(file), np.full((40, 52, 3), value, np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 0])
        os.utime(file, (1, 1))
        return file.stat().st_size, file.stat().st_mtime_ns

    before = write(0)
    dataset = open_dataset(hr_folder, None)
    first = dataset.sha256
    assert write(255) == before
    assert dataset.sha256_now() != first


def test_files_of_which_only_rights_or_names_changed_are_the_same(hr_folder: Path):
    task = task_of(hr_folder)
    assert task.key
    (hr_folder / "image1.png").chmod(0o600)
    (hr_folder.parent / "another").hardlink_to(hr_folder / "image1.png")
    assert carry_out(task, quiet).complete


def test_files_that_were_touched_alone_are_the_same(hr_folder: Path):
    task = task_of(hr_folder)
    assert task.key
    os.utime(hr_folder / "image1.png", (1, 1))
    assert carry_out(task, quiet).complete


def test_arrays_that_change_are_others(random_image):
    hr = random_image(48, 64).copy()
    dataset = dataset_of_arrays([(imresize(hr, Fraction(1, 4)), hr)])
    task = EvaluationTask(BICUBIC, dataset, config_of())
    assert carry_out(task, quiet).complete
    hr[:] = 0
    assert carry_out(task, quiet).state is State.FILES_CHANGED


def test_figures_of_other_weights_than_the_keys_are_of_no_key(hr_folder: Path):
    """As where a worker was started between two versions of a file."""
    task = task_of(hr_folder)
    record = carry_out(task, quiet)
    other = record.model_copy(update={"model": record.model.model_copy(update={"weights_sha256": "0" * 64})})
    changed = unless_changed(other, task)
    assert (changed.state, changed.reason) == (
        State.FILES_CHANGED,
        "its weights changed while it ran: run it again",
    )


def test_a_process_that_dies_before_it_has_its_task_is_made_up_for(hr_folder: Path, monkeypatch):
    started, start = [], processes._start

    def dead_at_first(gpu: str | None):
        started.append(gpu)
        if len(started) > 1:
            return start(gpu)
        ours, theirs = get_context("spawn").Pipe()
        theirs.close()
        return ours, SimpleNamespace(kill=lambda: None, join=lambda: None)

    monkeypatch.setattr(processes, "_start", dead_at_first)
    records = [record for _, record in carry_out_all([task_of(hr_folder), task_of(hr_folder, tile=8)], 1)]
    assert [record.complete for record in records] == [True, True]


def test_a_process_does_not_run_the_script_that_started_it(hr_folder: Path, tmp_path: Path, monkeypatch):
    """One without a guard would begin all of its work again, and end the process."""
    script = ModuleType("__main__")
    script.__file__ = str(tmp_path / "script.py")
    (tmp_path / "script.py").write_text("raise SystemExit('begun again')\n")
    monkeypatch.setitem(sys.modules, "__main__", script)
    before = dict(vars(script))
    ((_, record),) = carry_out_all([task_of(hr_folder)], 1)
    assert record.complete, record.reason
    assert vars(script) == before


def test_a_process_that_dies_while_it_sends_its_record_sent_none():
    def end() -> None:
        raise OSError("got end of file during message")

    assert processes._received(SimpleNamespace(recv=end)) is None


def test_side_by_side_gives_the_same_figures(hr_folder: Path):
    tasks = [task_of(hr_folder), task_of(hr_folder, metrics=("psnr", "ssim")), task_of(hr_folder, protocol="steady")]
    alone = [carry_out(task, quiet) for task in tasks]
    beside = {task.key: record for task, record in carry_out_all(tasks, 2)}
    assert [beside[task.key].images for task in tasks] == [record.images for record in alone]


def test_a_process_that_dies_costs_nobody_a_record(hr_folder: Path, tmp_path: Path):
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    tasks = [
        task_of(hr_folder, model=Deadly(tmp_path / "once", 1)),
        task_of(hr_folder, model=Deadly(tmp_path / "twice", 2)),
        task_of(hr_folder),
    ]
    once, twice, other = (tasks.index(task) for task in tasks)
    records = {tasks.index(task): record for task, record in carry_out_all(tasks, 2)}
    assert records[once].complete
    assert records[twice].state == "killed"
    assert "killed twice" in records[twice].reason
    assert records[other].complete


class Telling(Source):
    """A model that fails, and tells in which process and for which GPU."""

    def open(self, _config, _largest):
        raise CannotRunError(State.DEVICE_FAILED, f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")


@pytest.mark.parametrize(("protocol", "processes_used"), [("official", 2), ("accuracy", 1)])
def test_a_process_of_the_official_protocol_is_cold(hr_folder: Path, tmp_path: Path, protocol, processes_used: int):
    (tmp_path / "pids").mkdir()
    tasks = [task_of(hr_folder, model=Placed(tmp_path / "pids"), protocol=protocol) for _ in range(2)]
    assert all(record.complete for _, record in carry_out_all(tasks, 1))
    assert len(list((tmp_path / "pids").iterdir())) == processes_used


def test_a_process_whose_task_failed_takes_no_other(hr_folder: Path):
    """CUDA can be unusable for a process after an error, and then fails whatever runs there next."""
    told = [record.reason for _, record in carry_out_all([task_of(hr_folder, model=Telling()) for _ in range(2)], 1)]
    assert len({words.partition(" ")[0] for words in told}) == 2


def test_processes_are_spread_over_gpus_of_one_kind(hr_folder: Path, monkeypatch):
    monkeypatch.setattr(processes, "equal_gpus", lambda _device: ["0", "2"])
    told = [record.reason for _, record in carry_out_all([task_of(hr_folder, model=Telling()) for _ in range(3)], 2)]
    assert {words.partition(" ")[2] for words in told} == {"0", "2"}


def test_the_gpu_of_a_process_that_ended_is_its_successors(hr_folder: Path, monkeypatch):
    """With the next card in turn two shared one, and the card of the process that failed was idle."""
    gpus, ending = [], [2, 2, 0]

    def start(gpu: str | None) -> tuple[int, None]:
        gpus.append(gpu)
        return len(gpus) - 1, None

    def news(running: dict) -> list[int]:
        """The process whose GPU is the next one in ``ending``, else all."""
        assert running, "tasks wait, and no process runs: a GPU was not handed back"
        wanted = ending.pop(0) if ending else None
        return [its for its in running if wanted is None or gpus[its] == str(wanted)]

    monkeypatch.setattr(processes, "equal_gpus", lambda _device: ["0", "1", "2"])
    monkeypatch.setattr(processes, "_start", start)
    monkeypatch.setattr(processes, "connections_with_news", news)
    for name, told in (("_send", None), ("_end", None), ("_received", SimpleNamespace(complete=False))):
        monkeypatch.setattr(processes, name, lambda *_given, told=told: told)
    assert len(list(carry_out_all([task_of(hr_folder)] * 8, 4))) == 8
    # Four at once on three cards; of the two on the first card both end.
    assert gpus == ["0", "1", "2", "0", "2", "2", "0", "0"]


def test_one_after_another_they_run_on_one_gpu(hr_folder: Path, monkeypatch):
    """Cards of one kind differ by their heat and by who else uses them: a comparison is of one."""
    monkeypatch.setattr(processes, "equal_gpus", lambda _device: ["0", "2"])
    tasks = [task_of(hr_folder, model=Telling(), protocol="official") for _ in range(2)]
    told = {record.reason.partition(" ")[2] for _, record in carry_out_all(tasks, 1)}
    assert len(told) == 1


class Broken(Source):
    """A model with an error that nobody expects."""

    def open(self, _config, _largest):
        raise ZeroDivisionError("a mistake")


def test_an_error_of_any_kind_while_opening_is_that_models_record(hr_folder: Path):
    ((_, record),) = carry_out_all([task_of(hr_folder, model=Broken())], 1)
    assert (record.status, record.state) == ("failed", State.FAILED_TO_BUILD)
    assert record.reason == "ZeroDivisionError: a mistake"
    assert 'raise ZeroDivisionError("a mistake")' in record.traceback


def test_several_official_runs_are_averaged_each_with_its_cold_start(hr_folder: Path):
    seen = []
    task = task_of(hr_folder, protocol="official", runs=2)
    record = carry_out(task, lambda result: seen.append(result.runtime_ms))
    assert record.complete
    assert record.settings.runs == 2
    assert len(seen) == 4
    expected = [(seen[0] + seen[2]) / 2, (seen[1] + seen[3]) / 2]
    assert [image.runtime_ms for image in record.images] == pytest.approx(expected)
    assert record.mean("runtime_ms") == pytest.approx(sum(seen) / 4)
    assert record.key == task.key


@pytest.mark.parametrize("kind", ["interrupted", "failed"])
def test_finished_runs_are_kept_when_a_later_one_is_not(hr_folder: Path, monkeypatch, kind: str):
    whole = carry_out(task_of(hr_folder, protocol="official"), quiet)
    broken = whole.model_copy(
        update={"status": "failed", "state": State.IO_FAILED, "reason": "disk full", "images": ()}
    )
    slower = whole.model_copy(
        update={"images": tuple(i.model_copy(update={"runtime_ms": i.runtime_ms + 2}) for i in whole.images)}
    )
    left = [whole, slower, broken]

    def once(tasks, _jobs):
        if len(left) == 1 and kind == "interrupted":
            raise KeyboardInterrupt
        yield tasks[0], left.pop(0)

    monkeypatch.setattr(processes, "carry_out_all", once)
    record = carry_out(task_of(hr_folder, protocol="official", runs=5), quiet)
    assert (record.status, record.settings.runs) == (kind, 2)
    expected = [image.runtime_ms + 1 for image in whole.images]
    assert [image.runtime_ms for image in record.images] == pytest.approx(expected)
    assert record.reason == f"run 3 of 5: {'interrupted' if kind == 'interrupted' else 'disk full'}"
    assert record.state is (State.RAN if kind == "interrupted" else State.IO_FAILED)
    assert not is_final(record)


def test_ctrl_c_before_any_run_is_finished_is_ctrl_c(hr_folder: Path, monkeypatch):
    def broken_off(_tasks, _jobs):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(processes, "carry_out_all", broken_off)
    with pytest.raises(KeyboardInterrupt):
        carry_out(task_of(hr_folder, protocol="official", runs=5), quiet)


def test_the_first_run_that_fails_ends_several(hr_folder: Path):
    record = carry_out(task_of(hr_folder, model=Refusing(), protocol="official", runs=3), quiet)
    assert record.state == "missing dependency"


def test_threads_are_set_and_set_back(hr_folder: Path):
    before = torch.get_num_threads()
    record = carry_out(task_of(hr_folder, threads=before + 1), quiet)
    assert record.environment.threads == before + 1
    assert torch.get_num_threads() == before


def test_on_a_gpu_models_are_kept_apart(hr_folder: Path):
    """An error that spoils a process for CUDA is then one model's alone."""
    there = task_of(hr_folder, device="cuda")
    assert _kept_apart([there, there])
    assert not _kept_apart([task_of(hr_folder)])
    assert not _kept_apart([task_of(hr_folder, device="cuda:1", protocol="official", runs=2)])
    # A model without weights, and whatever else can be sent to another process, takes it from none.
    absent = WithoutWeights(find_model("SPAN"), RunError("no weights"))
    assert _kept_apart([there, task_of(hr_folder, model=absent, device="cuda")])
    assert _kept_apart([there, task_of(hr_folder, model=Broken(), device="cuda")])
    theirs = SimpleNamespace(info=BICUBIC.info.model_copy(update={"origin": "NTIRE2024_ESR"}))
    assert _kept_apart([there, task_of(hr_folder, model=theirs, device="cuda")])
    held = source_of_module(torch.nn.Upsample(scale_factor=4), 1.0)
    assert not _kept_apart([there, task_of(hr_folder, model=held, device="cuda")])


def test_a_model_whose_every_sample_was_disturbed_is_timed_again(hr_folder: Path):
    record = carry_out(task_of(hr_folder), quiet).model_copy(update={"status": "failed", "state": State.FAILED_TO_RUN})
    assert is_final(record)
    assert not is_final(record.model_copy(update={"timing": timing_of(((None,), (None,)))}))


def test_a_record_says_how_the_network_ran(hr_folder: Path):
    model = zoo_model(find_model("ABPN"), "selftrained")
    asked = {"engine": "channels-last", "precision": "bf16", "tile": 8, "tile_overlap": 2}
    record = carry_out(task_of(hr_folder, model, **asked), quiet)
    assert record.complete, record.reason
    its = record.settings
    assert (its.engine, its.precision, its.memory_format) == ("channels-last", "bf16", "channels_last")
    assert (its.tile, its.tile_overlap) == (8, 2)


def test_a_record_says_of_which_images_it_is_and_what_made_its_figures(hr_folder: Path):
    task = task_of(hr_folder)
    record = carry_out(task, quiet)
    assert record.figures_key == task.figures_key
    its = record.dataset
    assert (its.name, its.num_images, its.num_grey, its.sha256) == ("photos", 2, 0, task.dataset.sha256)


def test_flags_of_the_network_and_of_the_run_are_both_in_the_record(hr_folder: Path):
    network, run = Flag(code="weights", text="x"), Flag(code="late", text="y")
    ran = TaskRun(
        datetime.now(UTC), machine_state(torch.device("cpu")), analysis=ModelAnalysis(flags=(network,)), flags=(run,)
    )
    assert record_of(task_of(hr_folder), None, ran).flags == (network, run)


def test_the_largest_image_is_the_one_of_most_pixels():
    sizes = (ImageSize(5, 5), ImageSize(10, 10), ImageSize(2, 40))
    assert largest_lr(SimpleNamespace(lr_sizes=sizes)) == ImageSize(10, 10)
