"""The flags that several commands share, each defined and explained once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from eval.data.datasets import SAMPLE
from eval.errors import UsageError
from eval.inference.engines.registry import ENGINES
from eval.inference.upscaler import DEVICES
from eval.records.record import Protocol
from eval.run.model_source import AUTO

DataDir = Annotated[
    Path | None,
    typer.Option("--data_dir", envvar="ESR_DATA", help="Folder that holds image sets, or one set itself."),
]
SaveDir = Annotated[Path, typer.Option("--save_dir", help="Folder for SR images (<model>/<set>/), records and tables.")]
Datasets = Annotated[
    str | None,
    typer.Option(
        "--datasets",
        "--dataset",
        help=f"Sets by name, separated by commas; '{SAMPLE}' needs no data, 'valid' and 'test' are the challenge's.",
    ),
]
Weights = Annotated[
    str | None, typer.Option("--weights", help="A checkpoint's name in the manifest (released), or a file.")
]
Device = Annotated[str, typer.Option("--device", help=f"One of {', '.join(DEVICES)}, or cuda:N.")]
Tile = Annotated[
    str,
    typer.Option("--tile", help="LR pixels a side; 'none' for whole images; 'auto' tiles only if memory would not do."),
]
TileOverlap = Annotated[
    int | None,
    typer.Option("--tile_overlap", help="LR pixels that tiles share; by default 32, or a quarter of a tile."),
]
ProtocolOption = Annotated[
    Protocol,
    typer.Option(
        "--protocol", help="official: timed as the challenge does it, cold start included; accuracy: untimed."
    ),
]
Ssim = Annotated[bool, typer.Option("--ssim", help="Also calculate SSIM.")]
NoImages = Annotated[bool, typer.Option("--no_images", help="Write no SR images.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads for the network.")]
Runs = Annotated[int, typer.Option("--runs", min=1, help="Runs to average, official protocol only; the challenge: 5.")]
PresetOption = Annotated[
    Literal["rapid", "quick", "normal"], typer.Option("--preset", help="Limits of the steady protocol.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of the order in which the steady protocol runs models.")]

Jobs = Annotated[
    int, typer.Option("--jobs", min=1, help="Untimed passes side by side; each gets its share of the CPU's cores.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        help=f"What runs networks: {', '.join(ENGINES)}; auto for the fastest with eager's pixels; or ray, a cluster.",
    ),
]
PrecisionOption = Annotated[str, typer.Option("--precision", help="Of the network's layers: fp32, bf16 or fp16.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Threads that decode, measure and write beside an untimed network."),
]
RayAddress = Annotated[
    str | None, typer.Option("--ray_address", help="Of a running cluster; without it Ray starts on this machine.")
]
Redo = Annotated[bool, typer.Option("--redo", help="Run again what is on record.")]

DEFAULT_SAVE_DIR = Path("results")


def parse_tile(tile: str) -> int | str | None:
    """Read ``--tile``: "auto", None for "none", or a number.

    Raises:
        UsageError: it is none of these.
    """
    if tile == AUTO:
        return AUTO
    if tile == "none":
        return None
    if not tile.isdecimal():
        raise UsageError(f"--tile {tile}: expected auto, none, or a number of LR pixels")
    return int(tile)


def split(names: str | None) -> list[str]:
    """Split a list given with commas; an absent one is empty."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]
