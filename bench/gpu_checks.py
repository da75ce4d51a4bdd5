"""What a GPU must show before its figures are believed: each check looks at one statement of docs/measuring.md.

``bench.gpu_report`` runs each in a process of its own. With ``--device cpu`` what a CPU has too can be rehearsed.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from eval.config import EAGER, Protocol, RunConfig
from eval.data.images import ImageSize, write_png
from eval.device.clock import Forward, kernels_ms, timed
from eval.device.memory import MIB, available_bytes, peak_memory
from eval.device.pixels import to_tensor
from eval.device.placing import finish
from eval.device.transfer import to_device
from eval.doctor.findings import Outcome
from eval.doctor.networks import check_networks
from eval.files import PROJECT
from eval.inference.engines.registry import ENGINES
from eval.inference.upscaler import Upscaler
from eval.metrics.psnr_ssim import psnr
from eval.records.record import Record
from eval.records.store import RECORDS_FOLDER, read_records
from eval.run.launch import resolved
from eval.run.model_source import zoo_model
from eval.zoo.manifest import find_model

SIZES = (ImageSize(64, 64), ImageSize(97, 61), ImageSize(192, 256), ImageSize(256, 256), ImageSize(339, 510))
_RUNS = 9
_TILED_RUNS = 3
_CLOCK_SHARE, _CLOCK_MS = 0.02, 0.02
_KNOWN_MIB = 256
# Of float32 sums in another order; of half precision on photographs.
_FULL_DB, _HALF_DB = 0.002, 0.1
_LEFT_BYTES = 1536 * MIB


@dataclass(frozen=True)
class Row:
    """One line of a check: what was looked at, what came, and whether it is as it must be; None for a figure alone."""

    what: str
    came: str
    right: bool | None = None


def noise(size: ImageSize, seed: int = 0) -> np.ndarray:
    """Return an LR image ``(h, w, 3)`` of smooth noise, uint8."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.uniform(0, 255, (1, 3, size.height // 8 + 2, size.width // 8 + 2)))
    fine = torch.nn.functional.interpolate(coarse, size=(size.height, size.width), mode="bicubic").clamp(0, 255)
    return fine[0].permute(1, 2, 0).byte().numpy().copy()


_open = ExitStack()


def opened(device: torch.device, **flags: object) -> Upscaler:
    """Return PFDNLite with the weights that come with the project, on the device until this process ends.

    It runs by eager, unless ``flags`` say otherwise.
    """
    flags.setdefault("engine", EAGER)
    source = zoo_model(find_model("PFDNLite"), "selftrained")
    config = resolved(RunConfig(device=str(device), protocol="accuracy", **flags))
    upscaler = _open.enter_context(source.open(config, SIZES[-1]))
    _open.enter_context(upscaler.on_device())
    return upscaler


def check_computing(device: torch.device) -> Iterator[Row]:
    """Networks of known weights, by every engine in every precision."""
    for finding in check_networks(device, every=True):
        # A part that is not here is neither right nor wrong.
        right = None if finding.outcome is Outcome.NOTE else finding.outcome is Outcome.RIGHT
        yield Row(finding.what, finding.words, right)


def check_clock(device: torch.device) -> Iterator[Row]:
    """The clock beside that of the CPU, both around finished work; and the GPU's own time beside the latency."""
    upscaler = opened(device)
    for size in SIZES:
        x = to_device(to_tensor(noise(size), 1.0), device)
        by_device, by_host, alone = [], [], []
        with torch.inference_mode():
            for _ in range(_RUNS + 2):
                taken_ms, around_ms = _timed_twice(upscaler.network, x)
                by_device.append(taken_ms)
                # The clock itself takes some 0.07 ms of the CPU, which is no work of the GPU's.
                nothing_ms, around_nothing_ms = _timed_twice(lambda x: x, x)
                by_host.append(around_ms - (around_nothing_ms - nothing_ms))
                alone.append(kernels_ms(upscaler.network, x))
        ours, host = median(by_device[2:]), median(by_host[2:])
        right = abs(ours - host) <= _CLOCK_SHARE * host + _CLOCK_MS
        yield Row(f"{size}: clock, that of the CPU [ms]", f"{ours:.3f}, {host:.3f}", right)
        yield Row(f"{size}: the same, started while the copy is under way [ms]", _while_copying(upscaler, size, device))
        if told := [ms for ms in alone[2:] if ms is not None]:
            share = 1 - median(told) / ours
            yield Row(f"{size}: GPU alone [ms]", f"{median(told):.3f}; {share:.0%} of the latency is starting kernels")


def _timed_twice(forward: Forward, x: torch.Tensor) -> tuple[float, float]:
    """Return what the clock reads, and what the CPU's reads around it, both around finished work."""
    finish(x.device)
    start_s = time.perf_counter()
    taken_ms = timed(forward, x)[1]
    return taken_ms, (time.perf_counter() - start_s) * 1e3


def _while_copying(upscaler: Upscaler, size: ImageSize, device: torch.device) -> str:
    """Return what the clock would read if it did not wait for the copy of the image."""
    if device.type != "cuda":
        return "no copy"
    found = []
    with torch.inference_mode():
        for seed in range(_RUNS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            x = to_device(to_tensor(noise(size, seed), 1.0), device)
            start.record()
            upscaler.network(x)
            end.record()
            finish(device)
            found.append(start.elapsed_time(end))
    return f"{median(found):.3f}"


def check_device_index(device: torch.device) -> Iterator[Row]:
    """Every GPU by its number: its time is that of work, not of an empty stream."""
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    for index in range(count):
        there = torch.device("cuda", index)
        upscaler = opened(there)
        runtime_ms = median(upscaler(noise(SIZES[3]))[1] for _ in range(_RUNS))
        yield Row(f"{there} [ms]", f"{runtime_ms:.3f}", runtime_ms > 0.05)


def check_memory(device: torch.device) -> Iterator[Row]:
    """The peak of a known allocation, and what is free after it was given up."""
    # The first kernel brings its library with it, which stays.
    torch.ones(1, device=device)
    finish(device)
    before = available_bytes(device)
    with peak_memory(device) as peak:
        block = torch.ones(_KNOWN_MIB * MIB // 4, device=device)
        del block
    off = abs((peak.mib or 0) - _KNOWN_MIB)
    yield Row(f"peak of {_KNOWN_MIB} MiB", f"{peak.mib:.1f} MiB, {peak.method}", off <= 0.02 * _KNOWN_MIB)
    if device.type != "cuda":
        return
    lost = (before - available_bytes(device)) / MIB
    yield Row("memory that counts as used after it was freed", f"{lost:.1f} MiB", lost < _KNOWN_MIB / 4)


def check_engines(device: torch.device) -> Iterator[Row]:
    """Pixels of every engine and precision on five sizes, as PSNR to eager's, and their times."""
    images = [noise(size, seed) for seed, size in enumerate(SIZES)]
    eager = opened(device)
    expected = [eager(lr)[0] for lr in images]
    for name, engine in ENGINES.items():
        if device.type not in engine.devices:
            continue
        for precision in engine.precisions:
            upscaler = opened(device, engine=name, precision=precision)
            runs = [[upscaler(lr) for _ in range(_RUNS)] for lr in images]
            least_db = min(psnr(run[-1][0], sr) for run, sr in zip(runs, expected, strict=True))
            times = ", ".join(f"{median(ms for _, ms in run):.2f}" for run in runs)
            enough = 60 if precision == "fp32" else 45
            yield Row(f"{name}, {precision}", f"at least {least_db:.1f} dB to eager; {times} ms", least_db >= enough)


def check_graphs(device: torch.device) -> Iterator[Row]:
    """Forty sizes through CUDA graphs, twice: each is recorded, memory stays bounded, pixels are eager's."""
    if device.type != "cuda":
        return
    eager = opened(device)
    graphs = opened(device, engine="cuda-graphs")
    images = [noise(ImageSize(96 + 4 * step, 128 + 3 * step), step) for step in range(40)]
    first, again = ([graphs(lr)[0] for lr in images] for _ in range(2))
    least_db = min(psnr(sr, eager(lr)[0]) for sr, lr in zip(again, images, strict=True))
    same = all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    words = f"at least {least_db:.1f} dB to eager, repeated alike: {same}"
    yield Row("forty sizes, twice", words, least_db > 60 and same)
    yield Row("memory held", f"{torch.cuda.memory_reserved(device) / MIB:.0f} MiB")


def check_tiles(device: torch.device) -> Iterator[Row]:
    """Time of tiles beside that of the whole image."""
    whole = opened(device)
    lr = noise(SIZES[-1])
    base_ms = median(whole(lr)[1] for _ in range(_TILED_RUNS))
    for tile in (128, 256):
        tiled = opened(device, tile=tile)
        tiled_ms = median(tiled(lr)[1] for _ in range(_TILED_RUNS))
        likeness = psnr(tiled(lr)[0], whole(lr)[0])
        words = f"{tiled_ms / base_ms:.2f} times the whole, {likeness:.1f} dB to it"
        yield Row(f"tiles of {tile}", words, likeness > 45)


def check_images(device: torch.device) -> Iterator[Row]:
    """PSNR of photographs, Set5 and Set14 where they are, by the whole command, beside float32 on the CPU."""
    there = _psnr_by_image("cpu")
    for precision, engine, most_db in (
        ("fp32", "eager", _FULL_DB),
        ("fp32", "channels-last", _FULL_DB),
        ("bf16", "channels-last", _HALF_DB),
        ("fp16", "channels-last", _HALF_DB),
    ):
        here = _psnr_by_image(str(device), "--precision", precision, "--engine", engine)
        off = max(abs(here[image] - there[image]) for image in there)
        yield Row(f"{engine}, {precision}: largest difference to the CPU [dB]", f"{off:.5f}", off <= most_db)


def _psnr_by_image(device: str, *flags: str) -> dict[tuple[str, str], float]:
    folder = os.environ.get("ESR_DATA")
    sets = [name for name in ("Set5", "Set14") if folder and (Path(folder) / name).is_dir()]
    what = ("run", "--models", "3", "--datasets", ",".join(["sample", *sets]), "--protocol", "accuracy")
    records = run_command(*what, "--device", device, *flags)
    return {(record.dataset.name, image.name): image.psnr_db or 0.0 for record in records for image in record.images}


def check_steady(device: torch.device) -> Iterator[Row]:
    """Networks timed together, then one against itself, whose ratio is 1."""
    where = ("--device", str(device))
    for record in run_command("run", "--models", "3,8", "--datasets", "sample", "--protocol", "steady", *where):
        if record.settings.protocol is Protocol.STEADY:
            ratio = record.timing and record.timing.ratio
            words = f"{ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" if ratio else str(record.reason)
            yield Row(f"{record.model.label}: ratio", words, bool(ratio))
    ended = _program("compare", "PFDNLite", "PFDNLite", "--dataset", "sample", "--repeats", "3", *where)
    yield Row("A against A", (ended.stdout.strip().splitlines() or [ended.stderr])[-1], ended.returncode == 0)


def check_full_memory(device: torch.device) -> Iterator[Row]:
    """A card that is nearly full: a sentence and a record, no traceback; tiles run where whole images cannot."""
    if device.type != "cuda":
        return
    held = torch.empty(max(torch.cuda.mem_get_info(device)[0] - _LEFT_BYTES, 0), dtype=torch.uint8, device=device)
    with tempfile.TemporaryDirectory() as folder:
        write_png(Path(folder) / "large.png", noise(ImageSize(4096, 4096)))
        common = ("run", "--models", "3", "--data_dir", folder, "--device", str(device))
        for protocol in ("accuracy", "steady"):
            ended = _program(*common, "--protocol", protocol, "--tile", "none")
            clean = ended.returncode == 1 and "Traceback" not in ended.stderr and "out of memory" in ended.stderr
            yield Row(f"whole image, {protocol}", (ended.stderr.strip().splitlines() or [""])[0][:150], clean)
        ended = _program(*common, "--protocol", "accuracy")
        yield Row("--tile auto", f"exit code {ended.returncode}", ended.returncode == 0)
    del held


def _program(*arguments: str, save_dir: Path | None = None) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "eval", *arguments, "--save_dir", str(save_dir or folder)]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def run_command(*arguments: str) -> list[Record]:
    """Run a command of the harness in a process of its own and return its records.

    Raises:
        RuntimeError: it made none; with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        ended = _program(*arguments, save_dir=Path(folder))
        records = read_records(Path(folder) / RECORDS_FOLDER)
    if not records:
        raise RuntimeError(f"exit code {ended.returncode}: {ended.stderr.strip()[-300:]}")
    return records


# In this order; the limit of each in seconds, so that all end within six minutes.
CHECKS: dict[str, tuple[Callable[[torch.device], Iterator[Row]], int]] = {
    "clock": (check_clock, 30),
    "device index": (check_device_index, 30),
    "memory": (check_memory, 30),
    "computing": (check_computing, 90),
    "engines": (check_engines, 120),
    "graphs": (check_graphs, 40),
    "images": (check_images, 90),
    "full memory": (check_full_memory, 60),
    "tiles": (check_tiles, 60),
    "steady": (check_steady, 120),
}
