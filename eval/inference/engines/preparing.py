"""Networks made ready by an engine, and the fastest engine with eager's pixels."""

import importlib
import time
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from eval.config import EAGER
from eval.data.images import to_uint8
from eval.device.clock import Forward
from eval.errors import EngineError, one_reason
from eval.inference.engines.registry import ENGINES, PLAIN, Execution

# What "the same pixels" allows: one grey level, on so large a share of samples.
_MOST_LEVELS, _MOST_CHANGED = 1, 1e-3
_PROBE_SIZE = (170, 256)
_PROBE_RUNS = 5


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
    fastest = min(times_s, key=times_s.__getitem__)
    return Execution(fastest, left_out=tuple(left_out)), prepared[fastest]


def same_pixels(pixels: np.ndarray, expected: np.ndarray) -> bool:
    """Tell whether two uint8 images differ by at most one grey level, and on at most 0.1% of their samples."""
    difference = np.abs(pixels.astype(np.int16) - expected)
    return bool(difference.max() <= _MOST_LEVELS and np.count_nonzero(difference) <= _MOST_CHANGED * difference.size)


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
