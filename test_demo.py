"""Run one model on images: the challenge template's front door. ``python test_demo.py --model_id 3``."""

from typing import Annotated

import typer

from eval.cli.flags import (
    DEFAULT_SAVE_DIR,
    DataDir,
    Datasets,
    Device,
    EngineOption,
    NoImages,
    PrecisionOption,
    PresetOption,
    ProtocolOption,
    Runs,
    SaveDir,
    Seed,
    Ssim,
    Threads,
    Tile,
    TileOverlap,
    Weights,
    Workers,
    parse_tile,
    split,
)
from eval.cli.program import run_program
from eval.cli.run_options import Options
from eval.cli.session import Session
from eval.inference.engines.registry import EAGER
from eval.records.record import Protocol
from eval.run.model_source import AUTO, zoo_model
from eval.zoo.manifest import find_model


def demo(
    model_id: Annotated[str, typer.Option("--model_id", help="Id or name; `python -m eval models` lists them.")] = "3",
    data_dir: DataDir = None,
    datasets: Datasets = None,
    save_dir: SaveDir = DEFAULT_SAVE_DIR,
    include_test: Annotated[bool, typer.Option("--include_test", help="Also run the challenge's test set.")] = False,
    ssim: Ssim = False,
    weights: Weights = None,
    device: Device = AUTO,
    tile: Tile = AUTO,
    tile_overlap: TileOverlap = None,
    protocol: ProtocolOption = Protocol.OFFICIAL,
    runs: Runs = 1,
    preset: PresetOption = "rapid",
    seed: Seed = 0,
    threads: Threads = None,
    no_images: NoImages = False,
    engine: EngineOption = EAGER,
    precision: PrecisionOption = "fp32",
    workers: Workers = None,
) -> None:
    """Super-resolve a set of images with one model; measure PSNR, SSIM, runtime, complexity and memory."""
    spec = find_model(model_id)
    names = [*(split(datasets) or [None]), *(["test"] if include_test else [])]
    options = Options(
        save_dir=save_dir,
        device=device,
        protocol=protocol,
        tile=parse_tile(tile),
        tile_overlap=tile_overlap,
        with_ssim=ssim,
        save_images=not no_images,
        threads=threads,
        runs=runs,
        preset=preset,
        seed=seed,
        engine=engine,
        precision=precision,
        workers=workers,
    )
    session = Session(options)
    contender = zoo_model(spec, weights)
    opened = session.open(data_dir, names)
    session.run_all([contender], opened)
    session.finish(valid=opened[0].name, test=opened[-1].name if include_test else None)


if __name__ == "__main__":
    run_program(demo)
