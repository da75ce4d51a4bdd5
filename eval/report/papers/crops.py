"""A figure of crops: one image, the models that differ on it, and the PSNR of what is shown."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eval.data.pairs import SCALE
from eval.data.resize import imresize
from eval.metrics.psnr_ssim import PEAK
from eval.report.escapes import visible
from eval.report.page.gallery import Comparison, most_contested, readable
from eval.report.page.windows import CELL, choose_window, squared_errors

COLUMN_INCHES = 3.3
_CROP_SIDE = 64
_COLUMNS = 4
_MODELS_AT_MOST = 5


def comparison(its: Comparison) -> Figure | None:
    """Return crops of the most contested image where models differ most, with their PSNR; None without pictures."""
    image = most_contested(its)
    lr, hr = its.read(image)
    networks = [each for each in its.contenders if each.record.model.id >= 0][:_MODELS_AT_MOST]
    srs = {contender.label: sr for contender, sr in readable(networks, image, hr)}
    if not srs:
        return None
    pictures = {"HR": hr, "bicubic": imresize(lr, Fraction(SCALE)), **srs}
    errors = {name: squared_errors(picture, hr) for name, picture in pictures.items()}
    names = {contender.label: visible(contender.record.model.name) for contender in networks}
    rows, columns = _most_different([errors[label] for label in srs])
    area = (slice(rows.start * CELL, rows.stop * CELL), slice(columns.start * CELL, columns.stop * CELL))
    lines = -(-(len(pictures) + 1) // _COLUMNS)
    figure = Figure(figsize=(COLUMN_INCHES, lines * (COLUMN_INCHES / _COLUMNS + 0.28)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).reshape(-1)
    _show(axes[0], hr, visible(image))
    frame = (area[1].start, area[0].start), area[1].stop - area[1].start, area[0].stop - area[0].start
    axes[0].add_patch(Rectangle(*frame, fill=False, edgecolor="white", linewidth=1.2))
    for place, (label, picture) in zip(axes[1:], pictures.items(), strict=False):
        error, name = errors[label][rows, columns].mean(), names.get(label, label)
        _show(place, picture[area], name if error == 0 else f"{name}\n{10 * np.log10(PEAK**2 / error):.2f} dB")
    for place in axes[len(pictures) + 1 :]:
        place.set_axis_off()
    return figure


def _most_different(errors: Sequence[np.ndarray]) -> tuple[slice, slice]:
    stacked = np.stack(errors)
    interest = np.ptp(stacked, axis=0) if len(errors) > 1 else stacked[0]
    return choose_window(interest, (_CROP_SIDE // CELL) ** 2)


def _show(axes: Axes, picture: np.ndarray, caption: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(caption, fontsize=6, labelpad=2, parse_math=False)
