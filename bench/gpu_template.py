"""What a GPU must show beside a checkout of the challenge: the template's own program, and an entry in its sandbox.

CHECKOUT is a checkout of 2024 (entry 0 is RLFN, entry 1 is PFDNLite).
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from bench.gpu_checks import Row, run_command
from bench.processes import child, lay_out
from eval.data.datasets import open_dataset
from eval.inference.engines.registry import ENGINES

_ROUNDS = 3
# Each image is run once, as the template does it; most of its time is the CPU's, where libraries choose kernels.
_CLOCK_SHARE = 0.1
_PSNR_DB = 0.002
_OURS = (("eager", "fp32"), ("cuda-graphs", "fp32"), ("cuda-graphs", "fp16"))


def check_template(device: torch.device, checkout: Path) -> Iterator[Row]:
    """The template's program and ours over the same images in turn: what each reads off its clock, and wall time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(_images(), 1000, folder)
        data = ("--data_dir", folder, "--device", device)
        theirs = ("bench.template_side", "--checkout", checkout.resolve(), *data)
        ours = ("bench.our_side", *data)
        yield from _clocks(theirs, ours)
        yield from _walls(theirs, ours, [how for how in _OURS if device.type in ENGINES[how[0]].devices])


def _images() -> Any:
    folder = os.environ.get("ESR_DATA")
    larger = bool(folder) and (Path(folder) / "Urban100").is_dir()
    return open_dataset(Path(folder) if folder else None, "Urban100" if larger else "sample")


def _clocks(theirs: tuple, ours: tuple) -> Iterator[Row]:
    """Compare the runtimes of images under the official protocol, and PSNR by image."""
    peers, found = [], []
    for _ in range(_ROUNDS):
        peers.append(child(*theirs))
        how = ("--engine", "eager", "--protocol", "official", "--workers", 0)
        found.append(child(*ours, *how)["passes"][0])
    # The first image holds the start of every library.
    peer_ms, mine_ms = (median(fmean(run["runtime_ms"][1:]) for run in runs) for runs in (peers, found))
    words, right = f"{peer_ms:.2f}, {mine_ms:.2f}", abs(mine_ms / peer_ms - 1) <= _CLOCK_SHARE
    yield Row("mean runtime after the first image, template's and official's [ms]", words, right)
    peer, mine = peers[0], found[0]
    off = max(abs(a - b) for a, b in zip(peer["psnr_db"], mine["psnr_db"], strict=True))
    yield Row("largest difference in PSNR [dB]", f"{off:.5f}", off <= _PSNR_DB)


def _walls(theirs: tuple, ours: tuple, ways: list[tuple[str, str]]) -> Iterator[Row]:
    """Time whole passes with SSIM and PNG in turn, our preparing included."""
    walls: dict[str, list[float]] = {}
    prepared: dict[str, float] = {}
    flags = ("--ssim", "--save")
    for _ in range(_ROUNDS):
        peer = child(*theirs, *flags)
        walls.setdefault("template", []).append(peer["wall_s"])
        for engine, precision in ways:
            found = child(*ours, *flags, "--engine", engine, "--precision", precision)["passes"][0]
            walls.setdefault(f"{engine} {precision}", []).append(found["wall_s"] + found["prepare_s"])
            prepared[f"{engine} {precision}"] = found["prepare_s"]
    base_s = median(walls.pop("template"))
    yield Row(f"{peer['images']} images with PNG and SSIM: template [s]", f"{base_s:.2f}")
    for name, times_s in walls.items():
        words = f"{median(times_s):.2f}, {base_s / median(times_s):.1f}x; {prepared[name]:.2f} of them to prepare"
        yield Row(f"{name} [s]", words)


def check_sandbox(device: torch.device, checkout: Path) -> Iterator[Row]:
    """RLFN of the checkout in its sandbox beside the zoo's, PSNR and steady ratio."""
    where = ("--device", str(device), "--dataset", "sample")
    entry = ("--checkout", str(checkout.resolve()), "--models", "0")
    own, theirs = (
        run_command("run", *what, "--protocol", "accuracy", *where)[0] for what in (("--models", "RLFN"), entry)
    )
    if theirs.reason:
        yield Row("entry 0 in its sandbox", theirs.reason[:200], False)
        return
    off = max(abs(a.psnr_db - b.psnr_db) for a, b in zip(own.images, theirs.images, strict=True))
    yield Row("entry 0 in its sandbox, PSNR beside the zoo's [dB]", f"{off:.5f}", off <= _PSNR_DB)
    timed = run_command("run", *entry, "--reference", "RLFN", "--protocol", "steady", "--preset", "rapid", *where)
    for record in timed:
        ratio = record.timing and record.timing.ratio
        if ratio and record.model.team != own.model.team:
            words = f"{ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
            yield Row(f"{record.model.label}: time over that of the zoo's RLFN", words)


CHECKOUT_CHECKS = {"template": (check_template, 150), "sandbox": (check_sandbox, 180)}
