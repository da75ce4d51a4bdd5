"""The plot of all years: PSNR against time, or against FLOPs where none was taken, and the front of each year."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.all_years_rows import Cost, Row, Year, giga_flops_of, ratio_of
from eval.files import atomic_path
from eval.report.papers.figures import scale_by_logarithm

# Entries below are not drawn: they would press all others into one line.
_LEAST_DB = 26.4
_COLOURS = ("#7a869a", "#0b5cad", "#c2410c", "#15803d", "#7c3aed")


def draw_fronts(years: Sequence[Year], path: Path) -> None:
    """Draw a marker for each entry that was timed, and each year's front as steps, as SVG.

    Where none was timed, all entries that were counted stand at their FLOPs.
    """
    timed = any(ratio_of(row) for year in years for row in year.rows)
    cost, what = (ratio_of, "timed") if timed else (giga_flops_of, "counted")
    title = "time on Set14, as a ratio to RLFN's" if timed else "FLOPs [G]"
    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        shown = [place for year in years for place in _places(year.rows, cost)]
        for year, colour in zip(years, _COLOURS, strict=False):
            places = _places(year.rows, cost)
            axes.plot(*_columns(places), "o", ms=3.5, alpha=0.45, color=colour, mew=0)
            label = f"{year.edition.year}, {len(places)} {what}"
            front = _columns(_places(year.front(cost), cost))
            axes.plot(*front, "-", lw=1.6, drawstyle="steps-post", color=colour, label=label)
        scale_by_logarithm(axes, [its for its, _ in shown])
        axes.set_ylim(_LEAST_DB, max(psnr_db for _, psnr_db in shown) + 0.05)
        axes.set(xlabel=title, ylabel="PSNR on Set14 [dB]")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False, loc="lower right")
        with atomic_path(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def _places(rows: Iterable[Row], cost: Cost) -> list[tuple[float, float]]:
    return [(its, row.psnr_db) for row in rows if (its := cost(row)) and row.psnr_db]


def _columns(places: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [its for its, _ in places], [psnr_db for _, psnr_db in places]
