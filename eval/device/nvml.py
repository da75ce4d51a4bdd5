"""What NVIDIA's management library tells of a GPU: clocks, temperature, throttling, other processes, energy.

NVML's figures are read, never set. Where there is no driver there is no ``Gpu``.
"""

from collections.abc import Callable
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
    """One GPU. ``handle`` is NVML's. What a card, a slice of one or a virtual GPU does not tell is None."""

    handle: Any

    def processes(self) -> frozenset[int] | None:
        """Return the ids of processes that compute on it, as the driver numbers them."""
        found = self._told(pynvml.nvmlDeviceGetComputeRunningProcesses)
        return None if found is None else frozenset(process.pid for process in found)

    def throttling(self) -> str | None:
        """Return why the clocks are lowered; None where they are not."""
        active = self._told(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0
        return next((reason for reason, name in _THROTTLING.items() if active & getattr(pynvml, name)), None)

    def clock_mhz(self) -> int | None:
        """Return the clock of the multiprocessors."""
        return self._told(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM)

    def temperature_c(self) -> int | None:
        """Return the temperature of the chip."""
        return self._told(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU)

    def power_limit_w(self) -> float | None:
        """Return the power that the card may take."""
        limit_mw = self._told(pynvml.nvmlDeviceGetEnforcedPowerLimit)
        return None if limit_mw is None else limit_mw / 1000

    def energy_mj(self) -> int | None:
        """Return the energy used since the driver was loaded."""
        return self._told(pynvml.nvmlDeviceGetTotalEnergyConsumption)

    def _told(self, ask: Callable[..., Any], *what: int) -> Any:
        """Return an answer of NVML's, or None where it has none."""
        try:
            return ask(self.handle, *what)
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
    # A driver that is older than the library lacks functions; some builds of torch tell no identifier.
    except (pynvml.NVMLError, AttributeError):
        return None
