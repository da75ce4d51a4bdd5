"""The picture of a profile: one bar a layer, its time and its floor."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from eval.files import atomic_path
from eval.report.papers.fonts import fonts_for
from eval.words import visible

_TIME, _FLOOR = "#8ab4e8", "#0b5cad"


def write_profile_figure(bars: Sequence[tuple[str, float, float]], path: Path, say: Callable[[str], None]) -> None:
    """Write a figure as PNG: ``bars`` are name, time in ms and floor in ms of each layer, the slowest first.

    What letters could not be drawn is said by ``say``.
    """
    with fonts_for((name for name, _, _ in bars), say):
        _write(bars, path)


def _write(bars: Sequence[tuple[str, float, float]], path: Path) -> None:
    figure = Figure(figsize=(7, 0.8 + 0.22 * len(bars)), layout="constrained")
    axes = figure.subplots()
    names = [visible(name).replace("$", r"\$") for name, _, _ in bars]
    places = range(len(bars))
    axes.barh(places, [time for _, time, _ in bars], color=_TIME, label="time")
    axes.barh(places, [floor for _, _, floor in bars], color=_FLOOR, height=0.4, label="floor of this machine")
    axes.set_yticks(list(places), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    figure.legend(fontsize=7, loc="outside upper center", ncols=2)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
