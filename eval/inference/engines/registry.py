"""The engines by name: what each can do, whether it can be used here, and which is the fastest with eager's pixels."""

import importlib
import importlib.util
import time
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from eval.data.images import to_uint8
from eval.device.clock import Forward
from eval.errors import EngineError, UsageError, one_reason
from eval.inference.engines.precision import PRECISIONS

EAGER, AUTO = "eager", "auto"
# What "the same pixels" allows: one grey level, on so large a share of samples.
_MOST_LEVELS, _MOST_CHANGED = 1, 1e-3
_PROBE_SIZE = (170, 256)
_PROBE_RUNS = 5


@dataclass(frozen=True)
class Engine:
    """One row of the registry.

    Attributes:
        module: has ``prepare(network, device, precision) -> Forward``; imported when it is used.
        needs: packages that are not among the dependencies of pyproject.toml.
        devices: kinds of devices it runs on.
        any_tiles: its tiles may be told where they lie, as networks that interpolate a map must be.
    """

    module: str
    memory_format: str = "contiguous"
    precisions: tuple[str, ...] = PRECISIONS
    devices: tuple[str, ...] = ("cpu", "cuda", "mps")
    needs: tuple[str, ...] = ()
    any_tiles: bool = False

    @property
    def is_here(self) -> bool:
        """Tell whether what it needs is installed."""
        return all(importlib.util.find_spec(package) is not None for package in self.needs)


ENGINES = {
    EAGER: Engine("eval.inference.engines.eager", any_tiles=True),
    "channels-last": Engine("eval.inference.engines.channels_last", "channels_last", any_tiles=True),
    "compiled": Engine("eval.inference.engines.compiled", "channels_last", devices=("cpu", "cuda")),
    "cuda-graphs": Engine("eval.inference.engines.cuda_graphs", "channels_last", devices=("cuda",)),
}


@dataclass(frozen=True)
class Execution:
    """How a network is run: by which engine, in which precision; ``left_out``: engines that "auto" could not try."""

    engine: str = EAGER
    precision: str = "fp32"
    left_out: tuple[str, ...] = field(default=(), compare=False)

    @property
    def memory_format(self) -> str:
        """How the engine lays out what it is given."""
        return ENGINES[self.engine].memory_format


PLAIN = Execution()


def check_engine(execution: Execution, device: str) -> None:
    """Refuse what cannot be run, before anything is loaded.

    Args:
        execution: what is asked for; the engine may be "auto".
        device: as torch names it.

    Raises:
        UsageError: the engine is unknown, not installed, or cannot do this precision or this device.
    """
    name, precision = execution.engine, execution.precision
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
    if name == AUTO:
        if precision != "fp32":
            raise UsageError(f"--engine auto: compares pixels in fp32; with --precision {precision} name an engine")
        return
    if name not in ENGINES:
        raise UsageError(f"--engine {name}: expected one of {', '.join([*ENGINES, AUTO])}")
    engine, kind = ENGINES[name], device.partition(":")[0]
    if not engine.is_here:
        raise UsageError(f"--engine {name}: not installed; pip install {' '.join(engine.needs)}")
    if precision not in engine.precisions:
        able = ", ".join(other for other, row in ENGINES.items() if precision in row.precisions)
        raise UsageError(f"--precision {precision}: not with --engine {name}; use one of {able}")
    if kind not in engine.devices:
        raise UsageError(f"--engine {name}: runs on {', '.join(engine.devices)}, not on {device}")


def prepare(network: nn.Module, device: torch.device, execution: Execution) -> Forward:
    """Return the network's forward by an engine that has been checked; the network stays as it is.

    Raises:
        EngineError: the engine cannot run this network, or lacks something on this machine.
    """
    try:
        module = importlib.import_module(ENGINES[execution.engine].module)
        return module.prepare(network, device, execution.precision)
    except (EngineError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise EngineError(f"--engine {execution.engine}: {one_reason(error)}") from error


def fastest_with_eager_pixels(
    network: nn.Module, device: torch.device, data_range: float, placed_tiles: bool = False
) -> tuple[Execution, Forward]:
    """Return the engine that ``auto`` stands for, and its forward.

    Every engine that is installed for the device runs one synthetic image; those count whose pixels differ from
    eager's by at most one grey level on at most 0.1% of the samples. One that fails is left out, and named.

    Args:
        network: on the device.
        device: where it runs.
        data_range: of its input.
        placed_tiles: it will be given tiles that must know where they lie, which not every engine can do.
    """
    probe = _probe(data_range).to(device)
    eager = prepare(network, device, PLAIN)
    expected, seconds = _timed(eager, probe, data_range)
    prepared, times_s, left_out = {EAGER: eager}, {EAGER: seconds}, []
    for name, engine in ENGINES.items():
        able = engine.is_here and device.type in engine.devices and (engine.any_tiles or not placed_tiles)
        if name == EAGER or not able:
            continue
        try:
            prepared[name] = prepare(network, device, Execution(name))
            pixels, seconds = _timed(prepared[name], probe, data_range)
        except Exception as error:
            left_out.append(f"{name} ({one_reason(error)})")
            continue
        if same_pixels(pixels, expected):
            times_s[name] = seconds
    fastest = min(times_s, key=times_s.get)
    return Execution(fastest, left_out=tuple(left_out)), prepared[fastest]


def same_pixels(pixels: np.ndarray, expected: np.ndarray) -> bool:
    """Tell whether two uint8 images differ by at most one grey level, and on at most 0.1% of their samples."""
    difference = np.abs(pixels.astype(np.int16) - expected)
    return difference.max() <= _MOST_LEVELS and np.count_nonzero(difference) <= _MOST_CHANGED * difference.size


def _probe(data_range: float) -> Tensor:
    """Return a synthetic image ``(1, 3, h, w)`` of smooth waves and sharp edges, the same each time."""
    height, width = _PROBE_SIZE
    down, across = torch.meshgrid(torch.linspace(0, 9, height), torch.linspace(0, 13, width), indexing="ij")
    waves = torch.stack([torch.sin(down * (k + 1) + across) * torch.cos(across * k) for k in range(3)])
    edges = ((down + across).floor() % 2) * 0.3
    return ((waves * 0.3 + 0.35 + edges).clamp(0, 1) * data_range).unsqueeze(0)


@torch.inference_mode()
def _timed(forward: Forward, probe: Tensor, data_range: float) -> tuple[np.ndarray, float]:
    pixels, seconds = to_uint8(forward(probe)[0], data_range), []
    for _ in range(_PROBE_RUNS):
        start = time.perf_counter()
        # Its pixels are on the CPU, so the device has finished.
        to_uint8(forward(probe)[0], data_range)
        seconds.append(time.perf_counter() - start)
    return pixels, median(seconds)
