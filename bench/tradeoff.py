"""Draw PSNR against FLOPs, from records: ``python -m bench.tradeoff SAVE_DIR --dataset Urban100 --out FILE.svg``."""

import math
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import typer
from matplotlib import pyplot as plt

from eval.cli.program import run_program
from eval.errors import RunError
from eval.records.current import complete_ones, current
from eval.records.store import RECORDS_FOLDER, read_records

INK, ACCENT, OTHERS = "#333333", "#c2410c", "#3b6ea5"


def draw(
    save_dir: Annotated[Path, typer.Argument(help="Folder that holds records/.")],
    out: Annotated[Path, typer.Option(help="SVG, PDF or PNG file.")],
    dataset: Annotated[str, typer.Option(help="Set whose PSNR is shown.")] = "Urban100",
    highlight: Annotated[str, typer.Option(help="Model to stand out.")] = "PFDNLite",
) -> None:
    """Plot the newest records of a set: the area of a marker is the number of parameters."""
    complete = complete_ones(current(read_records(save_dir / RECORDS_FOLDER)))
    records = [record for record in complete if record.dataset.name == dataset]
    # A set with images that a model reproduces exactly has no place on the axis.
    counted = [record for record in records if record.complexity and record.complexity.flops is not None]
    networks = [record for record in counted if math.isfinite(record.mean("psnr_db"))]
    floor = next((record.mean("psnr_db") for record in records if not record.complexity), None)
    if not networks:
        raise RunError(f"{save_dir}: holds no complete record of a network on {dataset}")
    mpl.rcParams |= {"svg.hashsalt": "tradeoff", "font.family": "sans-serif", "text.color": INK, "axes.edgecolor": INK}
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for record in networks:
        flops_g, psnr_db = record.complexity.flops / 1e9, record.mean("psnr_db")
        colour = ACCENT if record.model.name == highlight else OTHERS
        area = record.complexity.num_params / 1200
        axes.scatter(flops_g, psnr_db, s=area, color=colour, alpha=0.75, linewidth=0)
        label = f"{record.model.name}, {record.complexity.num_params / 1e6:.3f} M"
        radius = area**0.5 / 2
        place, alignment = ((0, radius + 8), "center") if colour == ACCENT else ((radius + 4, 0), "left")
        axes.annotate(
            label, (flops_g, psnr_db), place, textcoords="offset points", va="center", ha=alignment, fontsize=8
        )
    axes.set_xscale("log")
    axes.set_xticks([10, 15, 20, 30, 40, 60], ["10", "15", "20", "30", "40", "60"])
    axes.minorticks_off()
    axes.set_xlim(8.5, 95)
    axes.margins(y=0.15)
    axes.set_xlabel("FLOPs at 256x256 [G multiply-adds]")
    axes.set_ylabel(f"PSNR on {dataset} [dB]")
    floor_text = "" if floor is None else f"; bicubic: {floor:.2f} dB"
    axes.set_title(f"{dataset}, x4, {networks[0].dataset.num_images} images{floor_text}", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None, dpi=160)
    typer.echo(f"written: {out}")


if __name__ == "__main__":
    run_program(draw)
