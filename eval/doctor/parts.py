"""The parts around the networks: files, bicubic, metrics, the clock, weights; and what is here beside them."""

import hashlib
import math
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eval.data.images import read_image, write_png
from eval.data.resize import imresize
from eval.device.clock import timed
from eval.device.nvml import open_gpu
from eval.device.placing import finish
from eval.doctor.findings import Finding, judged, noted
from eval.errors import RunError
from eval.files import PROJECT, extras
from eval.metrics.psnr_ssim import PEAK, SSIM_C1, psnr, ssim
from eval.words import counted
from eval.zoo.checkpoints import MissingWeightsError, find_checkpoint
from eval.zoo.manifest import all_models

# Of ``noise``, reduced by 4 in both directions.
_REDUCED_SHA256 = "4b5ef1f214478af352e14676ac59186d52db3ecfc839cd53d1af840f870f568c"
# The steps of a clock that times networks of a few milliseconds.
_COARSEST_CLOCK_S = 1e-5
_CLOCK_SHARE, _CLOCK_MS = 0.05, 0.05
_PROGRAMS = {"g++": "--engine compiled", "pdflatex": "setting the factsheet"}


def noise(height: int, width: int) -> np.ndarray:
    """Return an image ``(h, w, 3)`` of uint8 noise, the same everywhere."""
    return np.random.RandomState(3).randint(0, 256, (height, width, 3)).astype(np.uint8)


def check_files() -> Iterator[Finding]:
    """Write images by Pillow and by our own encoder, and read them again."""
    image = noise(37, 53)
    with tempfile.TemporaryDirectory() as folder:
        ours, pillows = Path(folder) / "ours.png", Path(folder) / "pillows.png"
        write_png(ours, image)
        Image.fromarray(image).save(pillows)
        right = all(np.array_equal(read_image(path), image) for path in (ours, pillows))
    yield judged("PNG files", right, "written and read without loss" if right else "pixels change in a file")


def check_bicubic() -> Iterator[Finding]:
    """Reduce an image by the exact bicubic."""
    reduced = imresize(noise(64, 48), Fraction(1, 4))
    right = hashlib.sha256(reduced.tobytes()).hexdigest() == _REDUCED_SHA256
    yield judged("bicubic", right, "equals MATLAB's" if right else "differs from MATLAB's")


def check_metrics() -> Iterator[Finding]:
    """Compare PSNR and SSIM with what the formulas come to for images of one grey level."""
    one, other = (np.full((40, 40, 3), level, np.uint8) for level in (100, 110))
    expected = {
        "PSNR": (psnr(one, other), 20 * math.log10(PEAK / 10)),
        "SSIM": (ssim(one, other), (2 * 100 * 110 + SSIM_C1) / (100**2 + 110**2 + SSIM_C1)),
    }
    for name, (got, formula) in expected.items():
        yield judged(name, math.isclose(got, formula, rel_tol=1e-12), f"{got:.6f}, by the formula {formula:.6f}")


def check_clock(device: torch.device) -> Iterator[Finding]:
    """Look at the clock's steps; on a GPU compare its events with the clock of the CPU, both of finished work."""
    step_s = min(_tick_s() for _ in range(20))
    yield judged("clock", step_s <= _COARSEST_CLOCK_S, f"steps of {step_s * 1e9:.0f} ns")
    if device.type != "cuda":
        return
    x = torch.ones(2048, 2048, device=device)

    def products(x: torch.Tensor) -> torch.Tensor:
        for _ in range(40):
            x = x @ x / 2048
        return x

    timed(products, x)
    finish(device)
    start_s = time.perf_counter()
    _, by_events_ms = timed(products, x)
    by_host_ms = (time.perf_counter() - start_s) * 1000
    right = abs(by_events_ms - by_host_ms) <= _CLOCK_SHARE * by_host_ms + _CLOCK_MS
    yield judged("clock of the GPU", right, f"{by_events_ms:.2f} ms by events, {by_host_ms:.2f} ms by the CPU's clock")


def _tick_s() -> float:
    """Return the time between two readings of the clock that differ."""
    start = time.perf_counter()
    while (now := time.perf_counter()) == start:
        pass
    return now - start


def check_weights() -> Iterator[Finding]:
    """Hash the weights that are here, and compare them with the manifest."""
    here, missing = [], []
    for spec in all_models():
        for known in spec.checkpoints:
            try:
                find_checkpoint(spec, known.name)
                here.append(f"{spec.name} {known.name}")
            except MissingWeightsError:
                missing.append(f"{spec.name} {known.name}")
            except RunError as error:
                yield judged(f"weights of {spec.name}", False, str(error))
    yield judged("weights", bool(here), f"as the manifest has them: {', '.join(here)}")
    if missing:
        yield noted("weights", f"not here: {', '.join(missing)}; python -m eval fetch weights --all")


def note_device(device: torch.device, name: str) -> Iterator[Finding]:
    """Say which device there is; of a GPU, what NVIDIA's library tells of it."""
    yield noted("device", f"{device}, {name}, {counted(torch.get_num_threads(), 'CPU thread')}")
    if device.type != "cuda":
        return
    gpu = open_gpu(device)
    if gpu is None:
        yield noted("NVML", "does not answer: clocks, throttling and other processes are not watched")
        return
    told = {"clock [MHz]": gpu.clock_mhz(), "power limit [W]": gpu.power_limit_w(), "energy": gpu.energy_mj()}
    absent = [what for what, value in told.items() if value is None]
    yield noted("NVML", f"does not tell: {', '.join(absent)}" if absent else "tells all that is asked")
    if others := gpu.processes():
        yield noted("GPU", f"{counted(len(others), 'process')} compute on it now; runtimes will not be trustworthy")


def note_versions() -> Iterator[Finding]:
    """Compare the installed packages with those that the project's figures were taken with."""
    pins = re.findall(r"^([\w-]+)==(\S+)", (PROJECT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    others = [f"{name} {its} ({pin})" for name, pin in pins if (its := _version(name)) not in (None, pin)]
    yield noted("versions", f"other than requirements.txt: {', '.join(others)}" if others else "as requirements.txt")


def note_optional() -> Iterator[Finding]:
    """List what is not installed, with what needs it."""
    absent = [
        f"{name} (pip install -e '.[{extra}]')"
        for extra, packages in extras().items()
        for name in packages
        if extra != "test" and _version(name) is None
    ]
    absent += [f"{name} ({use})" for name, use in _PROGRAMS.items() if shutil.which(name) is None]
    yield noted("optional parts", f"not installed: {', '.join(absent)}" if absent else "all installed")


def _version(package: str) -> str | None:
    try:
        # A build of torch for one kind of device has it behind a plus sign.
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None
