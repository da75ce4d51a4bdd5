"""Which devices there are, working on one of several GPUs, and recording on it."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eval.device.clock import kernels_ms, timed
from eval.device.graphs import Recorder
from eval.device.placing import current, equal_gpus, finish, gpu_files, pick_device, release, worker_gpu
from eval.errors import UsageError
from tests.device.fake_cuda import FakeCuda

CPU, SECOND = torch.device("cpu"), torch.device("cuda:1")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return FakeCuda(monkeypatch)


def test_devices():
    assert pick_device("cpu") == CPU
    for name in ("gpu", "cuda:x", "cpu:0", ""):
        with pytest.raises(UsageError, match=f"--device {name}: expected one of auto, cuda, cpu, mps"):
            pick_device(name)


def test_the_files_of_gpus_are_those_that_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """In WSL there is no /dev/nvidia0 but one file for all makes."""
    monkeypatch.setattr("eval.device.placing.GPU_FILES", [f"{tmp_path}/nvidia*", f"{tmp_path}/dxg"])
    assert gpu_files() == []
    for name in ("dxg", "null", "nvidia0", "nvidiactl"):
        (tmp_path / name).touch()
    assert [path.name for path in gpu_files()] == ["dxg", "nvidia0", "nvidiactl"]


def test_an_absent_device_is_an_error_and_no_fallback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cuda: not available; this machine has"):
        pick_device("cuda")


def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("mps")


def test_a_gpu_that_is_not_there_is_refused_by_its_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="--device cuda:2: not available"):
        pick_device("cuda:2")


def test_a_gpu_is_timed_on_its_own_stream_with_nothing_in_flight(cuda: FakeCuda):
    x = SimpleNamespace(device=SECOND)
    output, runtime_ms = timed(lambda given: cuda.say("forward") or given, x)
    assert (output, runtime_ms) == (x, 7.0)
    assert cuda.calls == [
        "finish cuda:1 on 0",
        "record of 1 on 1",
        "forward on 1",
        "record of 1 on 1",
        "finish cuda:1 on 1",
        "elapsed on 0",
    ]


KERNELS = ["finish cuda:1 on 1", "delay", "record of 1 on 1", "forward on 1", "record of 1 on 1", "query on 1"]


@pytest.mark.parametrize("short_delays", [0, 2])
def test_kernels_are_timed_behind_a_delay_that_lasts_until_all_are_queued(cuda: FakeCuda, short_delays: int):
    cuda.short_delays = short_delays
    x = SimpleNamespace(device=SECOND)
    assert kernels_ms(lambda _x: cuda.say("forward"), x) == 7.0
    calls = []
    for ticks in (2 ** (23 + k) for k in range(short_delays + 1)):
        calls += [call.replace("delay", f"delay of {ticks} on 1") for call in (*KERNELS, "finish cuda:1 on 1")]
    assert cuda.calls == [*calls, "elapsed on 1"]


def test_a_forward_that_waits_for_the_gpu_has_no_time_of_kernels(cuda: FakeCuda):
    cuda.short_delays = 99
    assert kernels_ms(lambda x: x, SimpleNamespace(device=SECOND)) is None
    assert sum("delay" in call for call in cuda.calls) == 6
    assert kernels_ms(lambda x: x, torch.ones(1)) is None


def test_a_recording_is_made_on_its_gpu_in_one_side_stream(cuda: FakeCuda):
    recorder = Recorder(SECOND)
    for _ in range(2):
        recording = recorder.record(lambda x: cuda.say("forward") or 2 * x, torch.ones(1, 3, 2, 2))
    assert cuda.calls.count("new stream on 1") == 1
    assert cuda.calls[1 : 1 + len(cuda.calls) // 2] == [
        "side waits for main on 1",
        "in side on 1",
        *["forward on 1"] * 3,
        "out of side on 1",
        "main waits for side on 1",
        "capture pool1 side thread_local on 1",
        "forward on 1",
        "captured on 1",
    ]
    assert (recording.sr == 2).all()
    assert recording.kept_bytes == 2 * 12 * 4


def test_memory_is_released_on_the_device_that_held_it(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch):
    release(SECOND)
    finish(SECOND)
    release(CPU)
    finish(CPU)
    assert cuda.calls == ["release on 1", "finish cuda:1 on 0"]
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: cuda.say("mps"))
    release(torch.device("mps"))
    assert cuda.calls[-1] == "mps on 0"


def test_a_cpu_has_no_current_device(cuda: FakeCuda):
    with current(CPU):
        assert cuda.current == 0
    with current(SECOND):
        assert cuda.current == 1


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("cuda", None, ["0", "2"]),
        ("cuda", "GPU-a,GPU-b,GPU-c", ["GPU-a", "GPU-c"]),
        ("cuda:0", None, []),
        ("cpu", None, []),
    ],
)
def test_work_for_any_gpu_takes_all_of_the_first_ones_kind(monkeypatch, device: str, visible, expected: list[str]):
    names = {None: "H100", 0: "H100", 1: "T4", 2: "H100"}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert equal_gpus(torch.device(device)) == expected


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("cpu", None, ("cpu", None)),
        ("cpu", "0,1", ("cpu", "0,1")),
        ("cuda", None, ("cuda", "0")),
        ("cuda:1", None, ("cuda", "1")),
        ("cuda:1", "3, 5", ("cuda", "5")),
        ("cuda", "GPU-a,GPU-b", ("cuda", "GPU-a")),
    ],
)
def test_a_worker_sees_one_gpu(monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, expected: tuple):
    monkeypatch.setattr(os, "environ", {"CUDA_VISIBLE_DEVICES": visible} if visible else {})
    assert worker_gpu(torch.device(device)) == expected
