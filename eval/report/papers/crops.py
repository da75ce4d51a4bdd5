"""Figures of crops: one image as networks show it, with the PSNR of what is shown."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eval.data.pairs import SCALE
from eval.data.resize import imresize
from eval.metrics.psnr_ssim import PEAK
from eval.report.page.gallery import Comparison, readable
from eval.report.page.windows import CELL, Area, choose_window, disagreement, pixels_of, squared_errors
from eval.words import visible

COLUMN_INCHES = 3.3
_COLUMNS = 4
_CROP_CELLS, _MODELS_AT_MOST = (64 // CELL) ** 2, 5
_STRIP_CELLS, _MODELS_IN_A_STRIP = (128 // CELL) ** 2, 3
_BICUBIC = "bicubic"
# Of its place a caption may be so wide: letters of other resolutions differ in width.
_SHARE = 0.95
# More letters of a name have no room below a picture.
_MOST_LETTERS = 80


@dataclass(frozen=True)
class _Shown:
    """One image as it is shown.

    Attributes:
        lr: ``(h, w, 3)`` uint8.
        hr: ``(4h, 4w, 3)`` uint8.
        pictures: bicubic's and the networks', of HR's shape, each under what it is called.
        errors: the mean squared error of each picture's cells, ``(h, w)``.
    """

    name: str
    lr: np.ndarray
    hr: np.ndarray
    pictures: tuple[tuple[str, np.ndarray], ...]
    errors: tuple[np.ndarray, ...]

    def draw(self, axes: Sequence[Axes], cells: Area) -> None:
        """Show some cells of each picture with their PSNR."""
        for place, (name, picture), errors in zip(axes, self.pictures, self.errors, strict=False):
            error = errors[cells].mean()
            caption = name if error == 0 else f"{name}\n{10 * np.log10(PEAK**2 / error):.2f} dB"
            _show(place, picture[pixels_of(cells)], caption)


def comparison(its: Comparison) -> Figure | None:
    """Return crops of the most contested image where models differ most, with their PSNR; None without pictures."""
    shown = _read(its, _MODELS_AT_MOST)
    if shown is None:
        return None
    cells = choose_window(disagreement(shown.errors[1:]), _CROP_CELLS)
    count = 2 + len(shown.pictures)
    lines = math.ceil(count / _COLUMNS)
    # As many in each line as can be: a line of one has empty places beside it.
    across = math.ceil(count / lines)
    figure, axes = _tiles(lines, across)
    _show(axes[0], shown.hr, visible(shown.name))
    rows, columns = pixels_of(cells)
    frame = (columns.start, rows.start), columns.stop - columns.start, rows.stop - rows.start
    axes[0].add_patch(Rectangle(*frame, fill=False, edgecolor="white", linewidth=1.2))
    _show(axes[1], shown.hr[rows, columns], "HR")
    shown.draw(axes[2:], cells)
    for place in axes[count:]:
        place.set_axis_off()
    return _captions_fitted(figure, across)


def strip(its: Comparison) -> Figure | None:
    """Return a row of crops where networks gain most over bicubic: LR, bicubic, networks, HR; None without pictures."""
    shown = _read(its, _MODELS_IN_A_STRIP)
    if shown is None:
        return None
    bicubic, *networks = shown.errors
    cells = choose_window(np.clip(bicubic - np.mean(networks, axis=0), 0, None), _STRIP_CELLS)
    figure, axes = _tiles(1, 2 + len(shown.pictures))
    _show(axes[0], shown.lr[cells], f"LR of\n{visible(shown.name)}")
    shown.draw(axes[1:-1], cells)
    _show(axes[-1], shown.hr[pixels_of(cells)], "HR")
    return _captions_fitted(figure, len(axes))


def _read(its: Comparison, at_most: int) -> _Shown | None:
    """Read the most contested image with the SR images of so many networks; None where there are none."""
    name = max(its.interests, key=lambda interest: interest.spread_db).name
    lr, hr = its.read(name)
    networks = [each for each in its.models if each.record.model.is_network][:at_most]
    srs = [(visible(model.record.model.short_name), sr) for model, sr in readable(networks, name, hr)]
    if not srs:
        return None
    pictures = ((_BICUBIC, imresize(lr, Fraction(SCALE))), *srs)
    return _Shown(name, lr, hr, pictures, tuple(squared_errors(picture, hr) for _, picture in pictures))


def _tiles(lines: int, columns: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure as wide as a column with places for so many pictures."""
    figure = Figure(figsize=(COLUMN_INCHES, lines * COLUMN_INCHES / columns), layout="constrained")
    return figure, list(figure.subplots(lines, columns, squeeze=False).flat)


def _captions_fitted(figure: Figure, columns: int) -> Figure:
    """Cut captions, break those wider than a picture's place, and make room below the pictures for the longest one."""
    most, lines = _SHARE * COLUMN_INCHES / columns * figure.dpi, 1
    for label in (axes.xaxis.label for axes in figure.axes):
        parts = [f"{its[:_MOST_LETTERS]}…" if len(its) > _MOST_LETTERS else its for its in label.get_text().split("\n")]
        label.set_text("\n".join(parts))
        for letters in range(max(map(len, parts)), 0, -1):
            if label.get_window_extent().width <= most:
                break
            label.set_text("\n".join(textwrap.fill(part, letters) for part in parts))
        lines = max(lines, 1 + label.get_text().count("\n"))
    height = figure.get_figheight()
    figure.set_figheight(height + height * columns / COLUMN_INCHES * (0.08 + 0.1 * lines))
    return figure


def _show(axes: Axes, picture: np.ndarray, caption: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(caption, fontsize=6, labelpad=2, parse_math=False)
