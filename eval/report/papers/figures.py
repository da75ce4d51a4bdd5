"""Figures for papers, as wide as a column: the trade-off plot and the visual comparison, as PDF and PNG."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox, BboxBase

from eval.files import atomic_path
from eval.records.conditions import names_of
from eval.report.board import Board, Row
from eval.report.escapes import plain
from eval.report.page.gallery import Comparison
from eval.report.papers.crops import COLUMN_INCHES, comparison, strip
from eval.report.papers.fonts import fonts_for
from eval.report.papers.former import FIGURE_FOLDER, former_figures
from eval.report.papers.names import place_names
from eval.words import visible

_INK, _ACCENT, _SOFT = "#222222", "#0b5cad", "#8a929c"
_FONT_SIZE = 7
_NAMED_AT_MOST = 15
_MANY = 8


def write_figures(
    boards: Sequence[Board], comparisons: Sequence[Comparison], folder: Path, say: Callable[[str], None]
) -> list[Path]:
    """Write the trade-off of each table, and the comparison and the strip of each set, as PDF and PNG in figures/.

    Those of a former report are removed then. What letters could not be drawn is said by ``say``.
    """
    models = [record.model.short_name for board in boards for record in board.records]
    images = [interest.name for its in comparisons for interest in its.interests]
    with fonts_for([*models, *images, *(board.conditions.dataset for board in boards)], say):
        return _write_figures(boards, comparisons, folder)


def _write_figures(boards: Sequence[Board], comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    # As far as tables differ, so that a paper's figures have the same names whatever machine made them.
    _, names = names_of([board.conditions for board in boards])
    drawn = [(f"tradeoff-{plain(name, 60)}", tradeoff(board)) for name, board in zip(names, boards, strict=True)]
    for its in comparisons:
        drawn += [(f"{kind.__name__}-{plain(its.dataset, 60)}", kind(its)) for kind in (comparison, strip)]
    drawn = [(name, figure) for name, figure in drawn if figure]
    (folder / FIGURE_FOLDER).mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (name, figure) in enumerate(drawn):
        for form, metadata in (("pdf", {"CreationDate": None}), ("png", None)):
            paths.append(folder / FIGURE_FOLDER / f"{number}-{name}.{form}")
            with atomic_path(paths[-1]) as partial:
                figure.savefig(partial, format=form, dpi=300, metadata=metadata)
    for path in former_figures(folder, paths):
        path.unlink()
    return paths


def tradeoff(board: Board) -> Figure | None:
    """Return PSNR against time, or against FLOPs where none was taken; None if no model has both.

    A marker's area is the number of parameters; the dotted line joins the models that no other beats in both.
    """
    scale, title, taken = 1.0, "Time [ms]", _with_both(board, "runtime_ms")
    if not taken:
        scale, title, taken = 1e9, "FLOPs [G]", _with_both(board, "flops")
    if not taken:
        return None
    figure = Figure(figsize=(COLUMN_INCHES, 0.75 * COLUMN_INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows, costs, psnrs = [row for row, *_ in taken], [cost / scale for _, cost, _ in taken], [db for *_, db in taken]
    front = front_of(costs, psnrs)
    _draw_markers(axes, rows, costs, psnrs)
    axes.plot([costs[i] for i in front], [psnrs[i] for i in front], ":", color=_SOFT, drawstyle="steps-post", zorder=1)
    across = ("axes fraction", "data")
    for gate in board.ranked.gates:
        axes.axhline(least := float(gate.least), color=_ACCENT, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(f"gate {gate.least} dB", (0.01, least), xycoords=across, va="bottom", fontsize=6)
    if max(costs) > 12 * min(costs):
        scale_by_logarithm(axes, costs)
    _leave_out_far_below(axes, rows, psnrs)
    _style(axes, title, f"PSNR on {board.conditions.dataset} [dB]")
    others = [i for i in range(len(rows)) if i not in front] if len(rows) <= _NAMED_AT_MOST else []
    _name_markers(axes, rows, list(zip(costs, psnrs, strict=True)), [*front, *others])
    return figure


def _with_both(board: Board, key: str) -> list[tuple[Row, float, float]]:
    """Return the complete rows with a cost above 0, which has a logarithm, and a PSNR, both finite."""
    rows = ((row, row.figure(key), row.figure("psnr_db")) for row in board.rows if row.record.complete)
    known = ((row, cost, db) for row, cost, db in rows if cost is not None and cost > 0 and db is not None)
    return [(row, cost, db) for row, cost, db in known if np.isfinite([cost, db]).all()]


def front_of(costs: Sequence[float], psnrs: Sequence[float]) -> list[int]:
    """Return the places of the models that no other beats in both, by cost."""
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -psnrs[i])):
        if not front or psnrs[index] > psnrs[front[-1]]:
            front.append(index)
    return front


def _areas(rows: Sequence[Row]) -> list[float]:
    """Return marker areas in square points, proportional to the number of parameters."""
    counts = [row.figure("num_params") or 0 for row in rows]
    greatest = max(*counts, 1)
    return [12 + 150 * count / greatest for count in counts]


def _draw_markers(axes: Axes, rows: Sequence[Row], costs: Sequence[float], psnrs: Sequence[float]) -> None:
    axes.scatter(costs, psnrs, s=_areas(rows), color=_ACCENT, alpha=0.75, linewidth=0, zorder=2)
    for row, cost, psnr_db in zip(rows, costs, psnrs, strict=True):
        interval = row.intervals["runtime_ms"]
        if interval and cost == row.figure("runtime_ms"):
            ends = [[cost - interval.low], [interval.high - cost]]
            axes.errorbar([cost], [psnr_db], xerr=ends, color=_INK, linewidth=0.7, capsize=1.5, zorder=3)


def scale_by_logarithm(axes: Axes, costs: Sequence[float]) -> None:
    """Scale the costs by their logarithm, with ticks at plain numbers: 5, 10, 20, 50; closer ones in a narrow range."""
    axes.set_xscale("log")
    span = max(costs) / min(costs)
    steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if span < 6 else (1.0, 2.0, 5.0) if span < 300 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _leave_out_far_below(axes: Axes, rows: Sequence[Row], psnrs: Sequence[float]) -> None:
    """Show no models so far below the others that these would lie on one line, and say how many there are.

    Whatever is not below the one that is ranked first is shown.
    """
    low, high = np.quantile(psnrs, (0.25, 0.75))
    first = [psnr_db for row, psnr_db in zip(rows, psnrs, strict=True) if row.figure("rank") == 1]
    shown = [psnr_db for psnr_db in psnrs if psnr_db >= min([low - 4 * (high - low), *first])]
    below = len(psnrs) - len(shown)
    if below and len(psnrs) >= _MANY:
        margin = 0.16 * (max(shown) - min(shown))
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
        axes.annotate(f"{below} below", (0.01, 0.02), xycoords="axes fraction", color=_SOFT, fontsize=6)


def _style(axes: Axes, title: str, ylabel: str) -> None:
    axes.set_xlabel(title, fontsize=_FONT_SIZE)
    axes.set_ylabel(ylabel, fontsize=_FONT_SIZE, parse_math=False)
    axes.tick_params(labelsize=_FONT_SIZE, width=0.6, color=_SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.margins(0.16)


def _name_markers(axes: Axes, rows: Sequence[Row], places: Sequence[tuple[float, float]], named: Iterable[int]) -> None:
    """Write the names of the markers that are in view, beside them or at the end of a line."""
    figure, canvas = axes.figure, axes.figure.canvas
    assert isinstance(figure, Figure)
    assert isinstance(canvas, FigureCanvasAgg)
    figure.draw_without_rendering()
    # The axes stay as they are now, whatever is written into them.
    figure.set_layout_engine("none")
    points, renderer = 72 / figure.dpi, canvas.get_renderer()

    def box_of(extent: BboxBase) -> np.ndarray:
        return np.hstack((extent.min + extent.max, extent.size)) / 2 * points

    notes = np.reshape([box_of(text.get_window_extent(renderer)) for text in axes.texts], (-1, 4))
    room = box_of(Bbox.from_extents(axes.bbox.x0, axes.bbox.y0, figure.bbox.x1, figure.bbox.y1))
    pixels = axes.transData.transform(places)
    texts = {
        index: axes.annotate(
            visible(rows[index].record.model.short_name), places[index], (0, 0), textcoords="offset points",
            ha="center", va="center", fontsize=6, parse_math=False, zorder=4,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
        for index in named if axes.bbox.contains(*pixels[index])
    }  # fmt: skip
    halves = {index: box_of(text.get_window_extent(renderer))[2:] for index, text in texts.items()}
    found = place_names(pixels * points, np.sqrt(_areas(rows)) / 2, halves, room, notes)
    for index, text in texts.items():
        if index not in found:
            text.remove()
            continue
        middle, line = found[index]
        text.xyann = middle - pixels[index] * points
        if len(line):
            ends = axes.transData.inverted().transform(line[[0, -1]] / points)
            axes.plot(*ends.T, ".-", color=_INK, linewidth=0.5, markersize=2, markevery=[0], scalex=False, scaley=False)
