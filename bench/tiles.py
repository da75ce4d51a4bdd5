"""How far tiles are from the whole image, for every network: ours, and the challenge template's way.

``python -m bench.tiles --data_dir DIR --images 25`` prints a Markdown table of PSNR differences in dB.
"""

from collections.abc import Callable
from statistics import fmean
from typing import Annotated

import numpy as np
import torch
import typer

from eval.cli.flags import DataDir
from eval.cli.program import run_program
from eval.data.datasets import open_dataset
from eval.device.pixels import to_tensor, to_uint8
from eval.inference.tiling import Tiling
from eval.inference.upscaler import Upscaler
from eval.metrics.psnr_ssim import psnr
from eval.report.renderers import to_markdown
from eval.report.table import Table
from eval.run.model_source import zoo_model
from eval.zoo.loading import load_network
from eval.zoo.manifest import all_models

CPU = torch.device("cpu")


@torch.inference_mode()
def template_tiles(upscaler: Upscaler, lr: np.ndarray, tile: int, overlap: int) -> np.ndarray:
    """Average overlapping tiles, each run as an image of its own, as the template's ``forward`` would."""
    spec = upscaler.spec
    x = to_tensor(lr, spec.data_range)
    height, width = x.shape[-2:]
    tile = min(tile, height, width)
    starts = [[*range(0, length - tile, tile - overlap), length - tile] for length in (height, width)]
    total, count = (torch.zeros(1, 3, height * spec.scale, width * spec.scale) for _ in range(2))
    for top in starts[0]:
        for left in starts[1]:
            rows = slice(top * spec.scale, (top + tile) * spec.scale)
            columns = slice(left * spec.scale, (left + tile) * spec.scale)
            total[..., rows, columns] += upscaler.network(x[..., top : top + tile, left : left + tile])
            count[..., rows, columns] += 1
    return to_uint8((total / count)[0], spec.data_range)


def measure(
    data_dir: DataDir,
    dataset: Annotated[str, typer.Option(help="Set of images.")] = "Urban100",
    images: Annotated[int, typer.Option(help="How many of them, evenly spread.")] = 25,
    tile: Annotated[int, typer.Option(help="LR pixels a side.")] = 128,
    overlap: Annotated[int, typer.Option(help="LR pixels shared.")] = 32,
) -> None:
    """Print, for every network, the mean and the largest PSNR difference between tiles and the whole image."""
    pairs = open_dataset(data_dir, dataset).pairs
    chosen = [pairs[round(i * (len(pairs) - 1) / max(images - 1, 1))].read() for i in range(images)]
    rows = []
    for spec in all_models():
        if not spec.checkpoints:
            continue
        whole = Upscaler(spec, load_network(spec, zoo_model(spec).checkpoint), CPU)
        tiled = Upscaler(spec, whole.network, CPU, Tiling(tile, overlap, spec.tile_step))
        base = [psnr(whole(lr)[0], hr) for lr, hr in chosen]
        ours = _differences(chosen, base, lambda lr, up=tiled: up(lr)[0])
        template = _differences(chosen, base, lambda lr, up=whole: template_tiles(up, lr, tile, overlap))
        rows.append([spec.name, *(f"{db:+.4f}" for db in (*_summary(ours), *_summary(template)))])
    headers = ["Model", "ours: mean", "median of sizes", "largest", "template: mean", "median of sizes", "largest"]
    typer.echo(
        f"{dataset}, {images} images, tile {tile}, overlap {overlap}: PSNR of tiles less that of the whole [dB]\n"
    )
    typer.echo(to_markdown(Table.headed(headers, rows, 1)))


def _differences(chosen: list, base: list[float], upscale: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    return [psnr(upscale(lr), hr) - whole for (lr, hr), whole in zip(chosen, base, strict=True)]


def _summary(differences: list[float]) -> tuple[float, float, float]:
    sizes = np.abs(differences)
    return fmean(differences), float(np.median(sizes)), float(sizes.max())


if __name__ == "__main__":
    run_program(measure)
