"""What NVIDIA's management library tells of a GPU: clocks, temperature, throttling, other processes, energy.

NVML's figures are read, never set. Where there is no driver there is no ``Gpu``.
"""

from dataclasses import dataclass
from typing import Any

import pynvml
import torch

# The driver reports its clocks as lowered for one of these.
_THROTTLING = {
    "hardware slowdown": "nvmlClocksThrottleReasonHwSlowdown",
    "thermal slowdown": "nvmlClocksThrottleReasonSwThermalSlowdown",
    "hardware thermal slowdown": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "power brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
}


@dataclass(frozen=True)
class Gpu:
    """One GPU. ``handle`` is NVML's."""

    handle: Any

    def processes(self) -> frozenset[int]:
        """Return the ids of processes that compute on it, as the driver numbers them."""
        return frozenset(process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(self.handle))

    def throttling(self) -> str | None:
        """Return why the clocks are lowered, or None."""
        active = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle)
        return next((reason for reason, name in _THROTTLING.items() if active & getattr(pynvml, name)), None)

    def clock_mhz(self) -> int:
        """Return the clock of the multiprocessors."""
        return pynvml.nvmlDeviceGetClockInfo(self.handle, pynvml.NVML_CLOCK_SM)

    def temperature_c(self) -> int:
        """Return the temperature of the chip."""
        return pynvml.nvmlDeviceGetTemperature(self.handle, pynvml.NVML_TEMPERATURE_GPU)

    def energy_mj(self) -> int | None:
        """Return the energy used since the driver was loaded, or None where it is not counted."""
        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)
        except pynvml.NVMLError:
            return None


def driver_version() -> str | None:
    """Return the driver's version, or None without one."""
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def open_gpu(device: torch.device) -> Gpu | None:
    """Return the GPU behind a CUDA device; None for another device, or where NVML does not answer."""
    if device.type != "cuda":
        return None
    try:
        pynvml.nvmlInit()
        identifier = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        return Gpu(pynvml.nvmlDeviceGetHandleByUUID(identifier))
    except pynvml.NVMLError:
        return None
