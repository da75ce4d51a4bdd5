"""The challenge's template and this harness side by side: the same network, images and figures, on the same CPU.

``python -m bench.versus_template --checkout PATH --data_dir DIR`` writes docs/results/speed.json, .md and .svg. PATH is
a checkout of the 2024 challenge with its weights (entry 1 is PFDNLite). Each side runs in processes of its own.
"""

import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer

from bench import speed_parts, template_side
from bench.processes import RESULTS, child, lay_out
from bench.speed_report import write_report
from eval.cli.flags import DataDir
from eval.cli.program import run_program
from eval.data.datasets import open_dataset
from eval.data.images import write_png
from eval.device.memory import keep_freed_memory
from eval.run.environment import describe_environment

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EIGHT_MODELS = "0,1,2,3,4,5,6,7"
SETUPS = (
    ("eager", "fp32"),
    ("channels-last", "fp32"),
    ("compiled", "fp32"),
    ("channels-last", "bf16"),
    ("compiled", "bf16"),
    ("channels-last", "fp16"),
)
PASSES = (("channels-last", "fp32"), ("compiled", "fp32"), ("compiled", "bf16"))
SIZES = ((80, 80), (128, 192), (256, 256), (400, 400), (600, 700), (1000, 1000))


def side_by_side(checkout: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Run both sides in turn, with SSIM and PNG, without SSIM, and with neither; return the median run of each."""
    runs: dict[str, list] = {}
    for flags in (("--ssim", "--save"), ("--save",), ()):
        for _ in range(rounds):
            name = " ".join(("template", *flags))
            peer = child("bench.template_side", "--checkout", checkout, "--data_dir", folder, *flags)
            runs.setdefault(name, []).append(peer)
            for engine, precision in PASSES:
                name = " ".join((engine, precision, *flags))
                how = ("--engine", engine, "--precision", precision, *flags)
                runs.setdefault(name, []).append(child("bench.our_side", "--data_dir", folder, *how))
    return {name: _median_run(found) for name, found in runs.items()}


def _median_run(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the run of median wall time, with everything that it measured."""
    return sorted(runs, key=lambda run: run.get("passes", [run])[0]["wall_s"])[(len(runs) - 1) // 2]


def large_input(folder: Path) -> dict[str, Any]:
    """Super-resolve one 2048x2048 input in tiles, in a process of its own."""
    lr = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_png(folder / "large_LR" / "a.png", cv2.resize(lr, (2048, 2048), interpolation=cv2.INTER_CUBIC))
    how = ("--tile", 256, "--engine", "channels-last", "--save")
    return child("bench.our_side", "--data_dir", folder / "large_LR", *how)


def compare(
    checkout: Annotated[Path, typer.Option("--checkout", help="A checkout of the 2024 challenge.")],
    data_dir: DataDir = None,
    dataset: Annotated[str, typer.Option(help="Set to compare on.")] = "Urban100",
    images: Annotated[int, typer.Option(help="How many of its images, from the first on.")] = 100,
    rounds: Annotated[int, typer.Option(help="Runs of each side, of which the median counts.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder for speed.json, speed.md and speed.svg.")] = RESULTS,
) -> None:
    """Measure everything and write the report; speed.json is written after each part."""
    keep_freed_memory()
    checkout, data = checkout.resolve(), ("--data_dir", data_dir)
    figures: dict[str, Any] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "images": images, "set": dataset}
    figures["rounds"] = rounds
    figures["environment"] = describe_environment(torch.device("cpu")).model_dump()
    eight = (*data, "--dataset", "Set14", "--models", EIGHT_MODELS, "--engine", "channels-last", "--streams", 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(open_dataset(data_dir, dataset), images, folder)
        parts: dict[str, Callable[[], Any]] = {
            "runs": lambda: side_by_side(checkout, folder, rounds),
            "serial": lambda: child("bench.our_side", "--data_dir", folder, "--workers", 0, "--ssim", "--save"),
            "large": lambda: large_input(folder),
            "eight": lambda: [child("bench.our_side", *eight) for _ in range(rounds)],
            "network_ms": lambda: speed_parts.network_ms(SETUPS),
            "multiply_adds": speed_parts.multiply_adds,
            "gemm_per_s": lambda: {key: speed_parts.gemm_rate(dtype) for key, dtype in DTYPES.items()},
            "by_size": lambda: speed_parts.seconds_by_megapixels(SIZES, ("channels-last", "fp32")),
            "metrics": lambda: metrics(checkout),
            "png": lambda: png(folder),
        }
        out.mkdir(parents=True, exist_ok=True)
        for part, take in parts.items():
            figures[part] = take()
            (out / "speed.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            typer.echo(f"measured: {part}")
    write_report(figures, out)
    typer.echo(f"written: {out}/speed.md")


def metrics(checkout: Path) -> dict[str, dict[str, float]]:
    """Time the template's metrics and ours on one image."""
    template_side.stand_in_for_cuda()
    sys.path.insert(0, str(checkout))
    theirs = importlib.import_module("utils.utils_image")
    return {
        "ssim": speed_parts.metrics_ms(lambda sr, hr: theirs.calculate_ssim(sr, hr, 4), "ssim", 5),
        "psnr": speed_parts.metrics_ms(lambda sr, hr: theirs.calculate_psnr(sr, hr, 4), "psnr", 15),
    }


def png(folder: Path) -> dict[str, float]:
    """Time two ways to write PNG, on ten images evenly spread over the set."""
    pairs = open_dataset(folder, None).pairs
    return speed_parts.png_ms([pair.read()[1] for pair in pairs[:: max(1, len(pairs) // 10)]])


if __name__ == "__main__":
    run_program(compare)
