"""Other work on the processor, and on a GPU as the driver's library would tell of it."""

import multiprocessing
import time
from multiprocessing.synchronize import Event
from types import SimpleNamespace

import pynvml
import pytest
import torch

from eval import disturbance, nvml
from eval.disturbance import Watch
from eval.environment import machine_state
from eval.nvml import Gpu, driver_version, open_gpu


def _burn(begun: Event) -> None:
    begun.set()
    while True:
        pass


def test_other_processes_on_the_cpu_are_noticed(monkeypatch: pytest.MonkeyPatch):
    spawn = multiprocessing.get_context("spawn")
    begun = spawn.Event()
    with Watch(torch.device("cpu")) as watch:
        worker = spawn.Process(target=_burn, args=(begun,), daemon=True)
        worker.start()
        assert begun.wait(120)
        watch.begin()
        deadline = time.monotonic() + 120
        # As long as it burns, sooner or later it has had its share.
        while watch.disturbance() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert watch.disturbance() == "other processes on the CPU"
        worker.kill()
        worker.join()


def test_own_work_is_no_disturbance(monkeypatch: pytest.MonkeyPatch):
    readings = iter([(100.0, 40.0), (101.0, 41.0), (200.0, 50.0), (201.0, 50.7)])
    current = {}

    def move() -> SimpleNamespace:
        current["all"], current["own"] = next(readings)
        return SimpleNamespace(user=current["all"], nice=0.0, system=0.0, irq=0.0, softirq=0.0, steal=0.0)

    own = SimpleNamespace(cpu_times=lambda: SimpleNamespace(user=current["own"], system=0.0))
    monkeypatch.setattr(disturbance.psutil, "cpu_times", move)
    monkeypatch.setattr(disturbance.psutil, "Process", lambda: own)
    watch = Watch(torch.device("cpu"))
    watch.begin()
    assert watch.disturbance() is None
    watch.begin()
    assert watch.disturbance() == "other processes on the CPU"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A GPU as NVML would tell of it."""
    state = SimpleNamespace(pids=[7], reasons=0, energy=[1000, 3500])
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda _h: [SimpleNamespace(pid=pid) for pid in state.pids]
    )
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCurrentClocksThrottleReasons", lambda _h: state.reasons)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", lambda _h, _kind: 1980)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", lambda _h, _kind: 61)
    monkeypatch.setattr(disturbance, "open_gpu", lambda _device: Gpu("handle"))
    return state


def test_another_process_on_the_gpu_is_noticed_and_those_from_before_are_not(gpu):
    with Watch(torch.device("cuda")) as watch:
        watch.begin()
        assert watch.disturbance() is None
        gpu.pids.append(8)
        assert watch.disturbance() == "another process on the GPU"


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (0, None),
        (pynvml.nvmlClocksThrottleReasonGpuIdle, None),
        (pynvml.nvmlClocksThrottleReasonSwThermalSlowdown, "thermal slowdown"),
        (pynvml.nvmlClocksThrottleReasonHwSlowdown, "hardware slowdown"),
        (pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown, "power brake"),
    ],
)
def test_lowered_clocks_are_noticed(gpu, reasons: int, expected: str | None):
    gpu.reasons = reasons
    with Watch(torch.device("cuda")) as watch:
        assert watch.disturbance() == expected


def test_clocks_and_temperature(gpu, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eval.environment.open_gpu", lambda _device: Gpu("handle"))
    state = machine_state(torch.device("cuda"))
    assert (state.gpu_mhz, state.gpu_temperature_c) == (1980, 61)


def test_energy_that_is_not_counted_is_none(monkeypatch: pytest.MonkeyPatch):
    def refuse(_handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    assert Gpu("handle").energy_mj() is None


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    def refuse():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(nvml.pynvml, "nvmlInit", refuse)
    assert open_gpu(torch.device("cuda")) is None
    assert driver_version() is None
    assert open_gpu(torch.device("cpu")) is None
    assert machine_state(torch.device("cpu")).gpu_mhz is None
