"""One model over one set: figures, partial records, and what ends a run."""

import json
import math
import re
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from eval.data.images import read_image, write_png
from eval.data.resize import imresize
from eval.device.memory import PeakMemory
from eval.inference.engines.registry import Execution
from eval.inference.upscaler import NoTileFitsError, Upscaler
from eval.metrics.psnr_ssim import psnr, ssim
from eval.records.record import Record, State
from eval.run import runner
from eval.run.failures import what_failed
from eval.run.runner import with_timing
from eval.run.tasks import EvaluationTask
from eval.timing.samples import Timing
from eval.timing.warmup import TimingError, WorkerEndedError
from eval.zoo.checkpoints import Checkpoint, find_checkpoint
from eval.zoo.loading import WeightsChangedError, load_network
from eval.zoo.manifest import find_model
from tests.tasks import InHand, task_of

BICUBIC = find_model("Bicubic")


def job_of(folder: Path, **changes) -> EvaluationTask:
    """A timed task with SSIM, of a network that is built already."""
    spec = changes.pop("spec", BICUBIC)
    network = changes.pop("network", None) or spec.build()
    model = InHand(spec, network, changes.pop("checkpoint", None))
    return task_of(folder, model, **({"protocol": "official", "metrics": ("psnr", "ssim")} | changes))


def run(task: EvaluationTask, on_image) -> Record:
    with task.model.open(task.config, None) as loaded:
        return runner.run(task, loaded, on_image)


def quiet(_result) -> None:
    pass


def test_figures_images_and_facts_of_a_run(hr_folder: Path, tmp_path: Path):
    seen = []
    record = run(job_of(hr_folder, images_dir=tmp_path / "sr"), lambda result: seen.append(result.name))
    assert seen == ["image0", "image1"] == [image.name for image in record.images]
    assert record.complete
    assert record.dataset.num_images == 2
    for image in record.images:
        hr = read_image(hr_folder / f"{image.name}.png")
        sr = read_image(tmp_path / "sr" / f"{image.name}.png")
        assert np.array_equal(sr, imresize(imresize(hr, 0.25), 4))
        assert image.psnr_db == psnr(sr, hr)
        assert image.ssim == ssim(sr, hr)
        assert (image.lr_height, image.lr_width) == (hr.shape[0] // 4, hr.shape[1] // 4)
        assert image.runtime_ms > 0
    assert record.complexity is None
    assert record.peak_memory_mib >= 0
    assert record.started_at < record.finished_at


class OnGpu(Upscaler):
    """Says that it is on a GPU, and runs on the CPU."""

    @contextmanager
    def on_device(self):
        yield

    @contextmanager
    def peak_memory(self):
        EVENTS.append("reset")
        peak = PeakMemory("peak")
        yield peak
        peak.mib = 7.0
        EVENTS.append("read")

    def __call__(self, lr):
        EVENTS.append(f"forward of {lr.shape[0]}x{lr.shape[1]}")
        return imresize(lr, 4), 1.0


EVENTS: list[str] = []


def test_a_gpus_peak_is_of_the_network_alone_where_metrics_share_the_gpu(tmp_path: Path, random_image, monkeypatch):
    EVENTS.clear()
    for name, size in (("a", (64, 48)), ("b", (80, 64)), ("c", (40, 40))):
        write_png(tmp_path / f"{name}.png", random_image(*size))
    metric = SimpleNamespace(key="psnr_db", compute=lambda *_: EVENTS.append("metric") or 30.0)
    monkeypatch.setattr(runner, "find_metrics", lambda _names: [metric])
    task = job_of(tmp_path, protocol="accuracy", workers=0)
    model = OnGpu(BICUBIC, BICUBIC.build(), torch.device("meta"), described=task.model.info)
    record = runner.run(task, model, quiet)
    assert record.peak_memory_mib == 7
    assert EVENTS.count("metric") == 3
    assert EVENTS[-3:] == ["reset", "forward of 20x16", "read"]
    assert EVENTS.count("reset") == 1


def test_no_peak_is_told_of_an_engine_that_keeps_memory_for_each_size(tmp_path: Path, random_image, monkeypatch):
    """A replay allocates nothing, so that its peak would be weights and what all sizes keep, without activations."""
    write_png(tmp_path / "a.png", random_image(64, 48))
    task = job_of(tmp_path, protocol="accuracy", workers=0)
    model = OnGpu(BICUBIC, BICUBIC.build(), torch.device("meta"), described=task.model.info)
    record = runner.run(task, replace(model, execution=Execution("cuda-graphs")), quiet)
    assert record.peak_memory_mib is None
    assert record.peak_memory_method == "not taken: cuda-graphs keeps memory for each size that it has recorded"


def test_the_accuracy_protocol_takes_no_time(hr_folder: Path):
    record = run(job_of(hr_folder, protocol="accuracy"), quiet)
    assert [image.runtime_ms for image in record.images] == [None, None]


def test_without_hr_there_is_no_fidelity(hr_folder: Path, tmp_path: Path):
    hr_folder.rename(tmp_path / "inputs_LR")
    record = run(job_of(tmp_path / "inputs_LR"), quiet)
    assert [(image.psnr_db, image.ssim) for image in record.images] == [(None, None)] * 2
    assert record.mean("psnr_db") is None


def test_counts_weights_and_flags_stand_in_the_record(hr_folder: Path, tmp_path: Path):
    spec = find_model("SPAN")
    torch.save(spec.build().state_dict(), tmp_path / "weights.pth")
    checkpoint = find_checkpoint(spec, str(tmp_path / "weights.pth"))
    network = load_network(spec, checkpoint)
    network.conv_1.register_forward_pre_hook(lambda module, _inputs: (module.eval_conv.bias.add_(0.0), None)[1])
    record = run(job_of(hr_folder, spec=spec, checkpoint=checkpoint, network=network), quiet)
    assert record.complexity.num_params == 150_688
    assert record.model.weights_sha256 == checkpoint.sha256
    assert record.model.checkpoint is None
    # What random weights make of an image may have an odd range, which is a flag of the run.
    assert [flag.code for flag in record.flags if flag.of_network] == ["parameters"]


def test_ctrl_c_keeps_what_was_finished(hr_folder: Path, tmp_path: Path):
    def interrupt(_result) -> None:
        raise KeyboardInterrupt

    record = run(job_of(hr_folder, images_dir=tmp_path / "sr"), interrupt)
    assert record.status == "interrupted"
    assert record.reason == "interrupted after 1 of 2 images"
    assert [image.name for image in record.images] == ["image0"]
    assert [path.name for path in (tmp_path / "sr").iterdir()] == ["image0.png"]
    assert Record.model_validate_json(record.model_dump_json()) == record


class Failing(nn.Module):
    """Fails at the second image."""

    def __init__(self, failure) -> None:
        super().__init__()
        self.failure, self.calls = failure, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == 2:
            raise self.failure
        return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (MemoryError(), "at image image1: out of memory; use a smaller --tile"),
        (torch.OutOfMemoryError("CUDA out of memory"), "at image image1: out of memory; use a smaller --tile"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (RuntimeError("shapes cannot be multiplied"), "at image image1: shapes cannot be multiplied"),
        (OSError(28, "No space left on device"), "at image image1: .*No space left on device"),
    ],
)
def test_a_failure_keeps_what_was_finished_and_names_the_image(hr_folder: Path, failure: Exception, reason: str):
    record = run(job_of(hr_folder, network=Failing(failure)), quiet)
    assert record.status == "failed"
    assert re.search(reason, record.reason)
    assert [image.name for image in record.images] == ["image0"]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (None, "expected a number, got None"),
        (math.nan, "expected a number, got nan"),
        ("30", "expected a number, got '30'"),
        (torch.zeros(2), r"expected a number, got tensor([0., 0.])"),
        (ZeroDivisionError("what"), "ZeroDivisionError: what"),
    ],
)
def test_a_faulty_metric_is_named_as_the_fault(hr_folder: Path, monkeypatch: pytest.MonkeyPatch, result, told: str):
    def luma(*_images) -> object:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr("eval.metrics.luma.psnr_y", luma)
    record = run(job_of(hr_folder, metrics=("psnr", "psnr_y")), quiet)
    assert record.reason == f"at image image0: metric PSNR-Y (eval.metrics.luma:psnr_y): {told}"
    assert (record.traceback is not None) == isinstance(result, Exception)


def test_an_error_of_any_kind_ends_the_run_with_its_traceback(hr_folder: Path):
    record = run(job_of(hr_folder, network=Failing(ZeroDivisionError("a mistake"))), quiet)
    assert (record.status, record.state) == ("failed", "failed to run")
    assert record.reason == "at image image1: ZeroDivisionError: a mistake"
    assert [image.name for image in record.images] == ["image0"]
    assert record.traceback.endswith("ZeroDivisionError: a mistake\n")
    assert "in forward" in record.traceback


OFFICIAL = json.loads((Path(__file__).parent / "reference" / "official_set5.json").read_text())


@pytest.mark.parametrize("name", OFFICIAL)
def test_figures_equal_the_official_code_on_every_image_of_set5(name: str, esr_weights, esr_data):
    spec = find_model(name)
    checkpoint = find_checkpoint(spec, "released")
    job = job_of(esr_data / "Set5", spec=spec, checkpoint=checkpoint, network=load_network(spec, checkpoint))
    record = run(replace(job, config=job.config.replaced(protocol="accuracy")), quiet)
    for image in record.images:
        expected_psnr, expected_ssim = OFFICIAL[name][image.name.removesuffix("_SRF_4")]
        # The metrics agree to 1e-9. Another processor's sums round some 0.1% of the samples to the neighbouring grey
        # level: of 750,000 samples about 750, each of which moves the squared error by 16, up or down. That walks to
        # 4e2 of 4e7, 5e-5 dB.
        assert image.psnr_db == pytest.approx(expected_psnr, abs=2e-4)
        assert image.ssim == pytest.approx(expected_ssim, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("PFDNLite", "24.48"),
        pytest.param("RLFN", "24.59", marks=pytest.mark.slow),
        pytest.param("DIPNet", "24.25", marks=pytest.mark.slow),
    ],
)
def test_urban100_is_the_factsheets(name: str, published: str, esr_weights, esr_data):
    spec = find_model(name)
    checkpoint = find_checkpoint(spec, "released")
    job = job_of(esr_data / "Urban100", spec=spec, checkpoint=checkpoint, network=load_network(spec, checkpoint))
    record = run(replace(job, config=job.config.replaced(protocol="accuracy", metrics="psnr")), quiet)
    assert len(record.images) == 100
    assert math.isfinite(record.mean("psnr_db"))
    assert f"{record.mean('psnr_db'):.2f}" == published


def timing_of(samples_ms: tuple, **changes) -> Timing:
    fields = {
        "group": "g", "preset": "rapid", "seed": 0, "image_names": ("a", "b"), "inputs_sha256": "0" * 64,
        "samples_ms": samples_ms, "dropped": {"thermal slowdown": 2}, "cold_start_ms": 900.0, "warmup_ms": 1000.0,
        "warmup_runs": 4, "p50_ms": 11.0, "p90_ms": 20.0, "ratio": None, "stopped_by": "rounds",
    }  # fmt: skip
    return Timing(**fields | changes)


def test_the_steady_mean_is_over_images_of_the_median_over_rounds(hr_folder: Path):
    record = run(job_of(hr_folder, protocol="steady"), quiet)
    assert record.mean("runtime_ms") is None
    timed = with_timing(record, timing_of(((10.0, 12.0, 99.0), (20.0, None, 22.0))))
    assert timed.mean("runtime_ms") == pytest.approx((12 + 21) / 2)
    assert timed.means["runtime_ms"].count == 2
    assert timed.mean("psnr_db") == record.mean("psnr_db")


def test_timed_outputs_that_are_not_the_judged_ones_are_flagged(hr_folder: Path):
    record = run(job_of(hr_folder, protocol="steady"), quiet)
    judged_db = {image.name: image.psnr_db for image in record.images}
    same, other = (
        with_timing(
            record, timing_of(((10.0,), (10.0,)), psnr_db={name: its - less for name, its in judged_db.items()})
        )
        for less in (0.1, 2.0)
    )
    assert same.flags == record.flags
    assert [flag.code for flag in other.flags[len(record.flags) :]] == ["timed"]


def test_a_speed_pass_without_a_sample_is_a_failed_run(hr_folder: Path):
    record = run(job_of(hr_folder, protocol="steady"), quiet)
    timed = with_timing(record, timing_of(((None,), (None,)), p50_ms=None, p90_ms=None))
    assert timed.status == "failed"
    assert timed.reason == (
        "every runtime sample was disturbed (2 by thermal slowdown); "
        "let the GPU cool down, and see to its cooling; then run it again"
    )
    assert timed.mean("psnr_db") == record.mean("psnr_db")


def folder_of(tmp_path: Path, random_image, count: int) -> Path:
    for number in range(count):
        write_png(tmp_path / "many" / f"{number:02}.png", random_image(48, 64, number))
    return tmp_path / "many"


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_change_no_figure_and_no_file(tmp_path: Path, random_image, workers: int):
    folder = folder_of(tmp_path, random_image, 7)
    serial, overlapped = (
        run(job_of(folder, protocol="accuracy", workers=count, images_dir=tmp_path / str(count)), quiet)
        for count in (0, workers)
    )
    assert overlapped.images == serial.images
    for image in serial.images:
        ours = (tmp_path / str(workers) / f"{image.name}.png").read_bytes()
        assert ours == (tmp_path / "0" / f"{image.name}.png").read_bytes()


def test_an_official_run_has_nothing_beside_the_network(tmp_path: Path, random_image):
    threads = []
    network = Failing(ZeroDivisionError())
    network.register_forward_hook(lambda *_: threads.append(threading.active_count()))
    before = threading.active_count()
    record = run(job_of(folder_of(tmp_path, random_image, 4), network=network, workers=3), quiet)
    assert threads == [before]
    assert record.settings.workers == 0


@pytest.mark.parametrize("protocol", ["official", "accuracy"])
def test_a_corrupt_image_in_the_middle_keeps_those_before_it(tmp_path: Path, random_image, protocol: str):
    job = job_of(folder_of(tmp_path, random_image, 9), protocol=protocol, images_dir=tmp_path / "sr")
    corrupt = tmp_path / "many" / "05.png"
    corrupt.write_bytes(corrupt.read_bytes()[:200])
    record = run(job, quiet)
    assert record.status == "failed"
    assert record.reason.startswith("at image 05: ")
    assert "05.png: not a readable image" in record.reason
    assert [image.name for image in record.images] == ["00", "01", "02", "03", "04"]
    assert {f"{number:02}.png" for number in range(5)} <= {path.name for path in (tmp_path / "sr").iterdir()}


@pytest.mark.parametrize("protocol", ["official", "accuracy"])
def test_a_disk_that_fills_in_the_middle_ends_the_run_with_its_image(
    tmp_path: Path, random_image, monkeypatch, protocol: str
):
    write = runner.write_png

    def write_until_full(path: Path, image: np.ndarray) -> None:
        if path.stem == "03":
            raise OSError(28, "No space left on device", str(path))
        write(path, image)

    monkeypatch.setattr(runner, "write_png", write_until_full)
    folder = folder_of(tmp_path, random_image, 9)
    record = run(job_of(folder, protocol=protocol, images_dir=tmp_path / "sr"), quiet)
    assert (record.status, record.state) == ("failed", State.IO_FAILED)
    assert re.match(r"at image 03: .*No space left on device", record.reason)
    assert [image.name for image in record.images] == ["00", "01", "02"]


def test_ctrl_c_in_the_middle_keeps_what_passed_the_network_and_leaves_no_thread(tmp_path: Path, random_image):
    before = threading.active_count()
    folder = folder_of(tmp_path, random_image, 9)
    network = Failing(KeyboardInterrupt())
    record = run(job_of(folder, protocol="accuracy", network=network, images_dir=tmp_path / "sr"), quiet)
    assert record.status == "interrupted"
    assert [image.name for image in record.images] == ["00"]
    assert (tmp_path / "sr" / "00.png").exists()
    assert threading.active_count() == before


class Picky(nn.Module):
    """Takes the images of the set, and none of those by which a network is counted and inspected."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] >= 64:
            raise ValueError("only small sizes")
        return self.gain * x.repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_an_error_while_counting_costs_no_image(hr_folder: Path, tmp_path: Path):
    checkpoint = Checkpoint(tmp_path / "mine.pth", "0" * 64, "mine")
    record = run(job_of(hr_folder, network=Picky(), checkpoint=checkpoint), quiet)
    assert record.complete
    assert all(image.psnr_db for image in record.images)
    assert (record.complexity.num_params, record.complexity.flops) == (1, None)
    reason = "(ValueError: only small sizes)"
    assert [(flag.code, flag.text.endswith(reason)) for flag in record.flags] == [("uncounted", True)] * 2


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("CUDA error: an illegal memory access was encountered", State.DEVICE_FAILED),
        ("CUDA driver error: unknown error", State.DEVICE_FAILED),
        ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", State.DEVICE_FAILED),
        ("GET was unable to find an engine to execute this computation", State.DEVICE_FAILED),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", State.OUT_OF_MEMORY),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", State.OUT_OF_MEMORY),
        ("CUDA error: out of memory", State.OUT_OF_MEMORY),
        ("MPS backend out of memory (MPS allocated: 9 GB)", State.OUT_OF_MEMORY),
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", State.OUT_OF_MEMORY),
        ("shape '[1]' is invalid", State.FAILED_TO_RUN),
    ],
)
def test_what_torch_says_of_memory_and_devices_is_tried_again(text: str, state: State):
    found, _ = what_failed(RuntimeError(text))
    assert found is state
    assert found.follows_from_key is (state is State.FAILED_TO_RUN)


ENDED = WorkerEndedError("its process has ended")


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (
            ModuleNotFoundError("No module named 'einops'"),
            State.MISSING_DEPENDENCY,
            "No module named 'einops'; install the package that has it, then run it again",
        ),
        (
            RuntimeError("can't start new thread"),
            State.OUT_OF_MEMORY,
            "can't start new thread: end other processes, or raise the limit of them (ulimit -u)",
        ),
        (
            cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
            State.OUT_OF_MEMORY,
            "out of memory; use a smaller --tile",
        ),
        (NoTileFitsError("--tile auto: too little"), State.OUT_OF_MEMORY, "--tile auto: too little"),
        (WeightsChangedError("x.pth: changed"), State.FILES_CHANGED, "x.pth: changed"),
        (ENDED, State.KILLED, "its process has ended"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_can_mend_has_a_state_of_its_own_and_is_tried_again(error: Exception, state: State, reason: str):
    assert what_failed(error) == what_failed(error, State.FAILED_TO_BUILD) == (state, reason)
    assert not state.follows_from_key


def test_a_worker_that_ends_while_it_is_timed_was_killed(hr_folder: Path):
    error = TimingError(0, ENDED)
    error.__cause__ = ENDED
    failed = runner.as_failed(run(job_of(hr_folder), quiet), error)
    assert (failed.state, failed.reason) == (State.KILLED, "while it was timed: its process has ended")


def test_a_device_that_fails_again_does_not_hide_why_it_failed(monkeypatch):
    network = BICUBIC.build()
    upscaler = Upscaler(BICUBIC, network, torch.device("cpu"), described=InHand(BICUBIC, network).info)

    def fail(_upscaler) -> None:
        raise RuntimeError("CUDA error: again")

    monkeypatch.setattr(Upscaler, "_leave", fail)
    with pytest.raises(ValueError, match="the first error"), upscaler.on_device():
        raise ValueError("the first error")
