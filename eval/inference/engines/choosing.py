"""The engine that ``auto`` stands for: the fastest one that compiles nothing and changes no figure."""

import time
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from eval.config import AUTO, EAGER, FULL_PRECISION
from eval.data.pairs import SCALE
from eval.data.resize import imresize
from eval.device.clock import Forward
from eval.device.pixels import to_tensor, to_uint8
from eval.device.transfer import to_device
from eval.errors import EngineError, one_reason
from eval.frozen import Frozen
from eval.inference.engines.preparing import prepare
from eval.inference.engines.registry import ENGINES, PLAIN, Execution
from eval.metrics.psnr_ssim import psnr

# What "the same pixels" allows in float32: one grey level, on so large a share of samples.
_MOST_LEVELS, _MOST_CHANGED = 1, 1e-3
# What half precision may cost of the mean PSNR of the probe.
_MOST_DB = 0.01
# Losses that differ by less are the same.
_SAME_DB = 0.002
# Height and width of the LR images that are run: small, middle, and like those of Urban100.
_PROBE_SIZES = ((48, 64), (96, 128), (168, 256))
_RUNS = 2


class Choice(Frozen):
    """What ``auto`` took.

    Attributes:
        engine: its name.
        tried_ms: what the probe took by each engine that would do, first calls included.
        lost_db: what half precision costs of the probe's mean PSNR by the engine; None in float32.
        left_out: the others, each with the reason.
    """

    engine: str
    tried_ms: Mapping[str, float]
    lost_db: float | None = None
    left_out: tuple[str, ...] = ()

    @property
    def tried(self) -> str:
        """The engines that would do, with their times."""
        times = ", ".join(f"{name} {ms:.0f} ms" for name, ms in self.tried_ms.items())
        return times + (f"; {self.engine} is {self.lost_db:.3f} dB below float32" if self.lost_db is not None else "")


def choose_engine(
    network: nn.Module, device: torch.device, precision: str, data_range: float, placed_tiles: bool = False
) -> Choice:
    """Return the engine that runs a photograph in three sizes fastest, the first call of each size included.

    In float32 it must give eager's pixels, but for one grey level on at most 0.1% of the samples; in half precision a
    mean PSNR at most 0.01 dB below that of eager in float32. If none does, it is of those that lose least. The network
    is on the device; ``placed_tiles`` are tiles that must know where they lie, which not every engine can do.

    Raises:
        EngineError: no engine can run it; the message says why of each.
    """
    lrs, hrs = zip(*_photographs(), strict=True)
    inputs = [to_device(to_tensor(lr, data_range), device) for lr in lrs]
    try:
        plain = prepare(network, device, PLAIN)
        # What a device and its libraries take to start, whichever engine is first, is no engine's own time.
        _run(plain, inputs[:1], data_range)
        expected, eager_ms = _run(plain, inputs, data_range)
    except Exception:
        expected, eager_ms = [], 0.0
    if [sr.shape for sr in expected] != [hr.shape for hr in hrs]:
        # It fails, or makes no SR image: what is wrong is told when it runs, by eager.
        return Choice(engine=EAGER, tried_ms={})
    tried_ms, lost_db, left_out = {}, {}, []
    for name in _able(device, precision, placed_tiles):
        execution = Execution(name, precision)
        try:
            forward = None if execution == PLAIN else prepare(network, device, execution)
            pixels, its_ms = _run(forward, inputs, data_range) if forward else (expected, eager_ms)
        except Exception as error:
            left_out.append(f"{name} ({one_reason(error)})")
            continue
        if precision == FULL_PRECISION and not all(map(same_pixels, pixels, expected)):
            left_out.append(f"{name} (other pixels than eager's)")
            continue
        tried_ms[name] = its_ms
        if precision != FULL_PRECISION:
            pairs = zip(expected, pixels, hrs, strict=True)
            lost_db[name] = fmean(psnr(sr, hr) - psnr(its, hr) for sr, its, hr in pairs)
    if not tried_ms:
        raise EngineError(f"--engine {AUTO} --precision {precision}: none can run it: {'; '.join(left_out)}")
    # Where all cost more, the fastest of those that cost as much as the best.
    most_db = max(_MOST_DB, min(lost_db.values(), default=0.0) + _SAME_DB)
    engine = min((name for name in tried_ms if lost_db.get(name, 0.0) <= most_db), key=tried_ms.__getitem__)
    return Choice(engine=engine, tried_ms=tried_ms, lost_db=lost_db.get(engine), left_out=tuple(left_out))


def _able(device: torch.device, precision: str, placed_tiles: bool) -> Iterator[str]:
    """Yield the engines that are here, run on a device in a precision, and compile nothing."""
    for name, engine in ENGINES.items():
        here = engine.is_here and device.type in engine.devices and precision in engine.precisions
        if here and not engine.compiles and (engine.any_tiles or not placed_tiles):
            yield name


def same_pixels(pixels: np.ndarray, expected: np.ndarray) -> bool:
    """Tell whether two uint8 images differ by at most one grey level, and on at most 0.1% of their samples."""
    difference = np.abs(pixels.astype(np.int16) - expected)
    return bool(difference.max() <= _MOST_LEVELS and np.count_nonzero(difference) <= _MOST_CHANGED * difference.size)


@torch.inference_mode()
def _run(forward: Forward, inputs: Sequence[Tensor], data_range: float) -> tuple:
    """Return the images of a forward, uint8, and the time of all its calls in ms."""
    images, start_s = [], time.perf_counter()
    for x in inputs:
        for _ in range(_RUNS):
            # Its pixels are on the CPU, so the device has finished.
            pixels = to_uint8(forward(x)[0], data_range)
        images.append(pixels)
    return images, (time.perf_counter() - start_s) * 1e3


@cache
def _photographs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return a photograph in several sizes, each as an LR and an HR image, uint8."""
    # Imported here: it takes as long as all else together.
    from skimage.data import astronaut

    height, width = (side * SCALE for side in _PROBE_SIZES[-1])
    photograph = astronaut()
    # Mirrored at its border up to the largest size.
    rows, columns = (max(side - length, 0) for side, length in zip((height, width), photograph.shape, strict=False))
    whole = np.pad(photograph, ((0, rows), (0, columns), (0, 0)), "symmetric")
    hrs = [whole[: rows * SCALE, : columns * SCALE] for rows, columns in _PROBE_SIZES]
    return [(imresize(hr, Fraction(1, SCALE)), hr) for hr in hrs]
