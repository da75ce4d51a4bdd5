"""Ways to write a PNG, compared: ``python -m bench.pictures --data_dir DIR`` prints time and size by encoder."""

import io
from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Annotated

import cv2
import numpy as np
import typer
from PIL import Image

from bench.speed_parts import clocked, interleaved_ms
from eval.cli.flags import DataDir
from eval.cli.program import run_program
from eval.data.datasets import open_dataset
from eval.data.png import encode_png
from eval.report.renderers import to_markdown
from eval.report.table import Table

_RUNS_WITH_UP = (
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_UP,
)


def _pillow(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _opencv(image: np.ndarray, settings: tuple[int, ...] = ()) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)[1].tobytes()


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "ours: difference to the row above, ISA-L level 1": encode_png,
    "OpenCV, difference to the row above, in runs": lambda image: _opencv(image, _RUNS_WITH_UP),
    "OpenCV as it comes": _opencv,
    "Pillow, level 1": _pillow,
}


def measure(
    data_dir: DataDir = None,
    dataset: Annotated[str, typer.Option(help="Set whose HR images are encoded.")] = "Urban100",
    images: Annotated[int, typer.Option(help="How many of them, evenly spread.")] = 10,
    rounds: Annotated[int, typer.Option(help="Of which the median counts, encoders taking turns.")] = 5,
) -> None:
    """Encode photographs by each encoder, on one core."""
    pairs = open_dataset(data_dir, dataset).pairs
    pictures = [pairs[i * len(pairs) // images].read()[1] for i in range(images)]
    times_ms: dict[str, list[float]] = {name: [] for name in ENCODERS}
    for picture in pictures:
        clocks = {name: clocked(partial(encode, picture)) for name, encode in ENCODERS.items()}
        for name, ms in interleaved_ms(clocks, rounds).items():
            times_ms[name].append(ms)
    rows = [
        [name, f"{fmean(times_ms[name]):.1f}", f"{fmean(len(encode(picture)) for picture in pictures) / 1e3:.0f}"]
        for name, encode in ENCODERS.items()
    ]
    typer.echo(to_markdown(Table.headed(["encoder", "ms", "kB"], rows, 1)))


if __name__ == "__main__":
    run_program(measure)
