"""Errors of a picture cell by cell, one cell an LR pixel, and the window of an image that is most worth its bytes."""

import base64
from collections.abc import Sequence

import numpy as np

CELL = 4
# A cell's root mean squared error in levels of 255 is 2 ** ((code - CODE_OF_ONE) / CODES_PER_OCTAVE); code 0 is none.
CODES_PER_OCTAVE = 23
CODE_OF_ONE = 70
# Rows and columns, of cells or of pixels.
Area = tuple[slice, slice]


def squared_errors(sr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each cell, ``(h / 4, w / 4)`` float64.

    Args:
        sr: ``(h, w, 3)`` uint8, both sides multiples of 4.
        hr: the ground truth, of the same shape.
    """
    height, width, channels = hr.shape
    squares = (sr.astype(np.int32) - hr) ** 2
    return squares.reshape(height // CELL, CELL, width // CELL, CELL, channels).mean(axis=(1, 3, 4))


def encode_errors(errors: np.ndarray) -> str:
    """Return mean squared errors as one byte a cell in base64, row by row; each is within 1.6% of the root."""
    with np.errstate(divide="ignore"):
        codes = CODE_OF_ONE + CODES_PER_OCTAVE * np.log2(np.sqrt(errors))
    codes = np.where(errors > 0, np.clip(np.rint(codes), 1, 255), 0)
    return base64.b64encode(codes.astype(np.uint8).tobytes()).decode("ascii")


def disagreement(errors: Sequence[np.ndarray]) -> np.ndarray:
    """Return how far apart the errors of several pictures are in each cell; of one picture its errors."""
    return np.ptp(errors, axis=0) if len(errors) > 1 else errors[0]


def pixels_of(cells: Area) -> Area:
    """Return the pixels of a window of cells."""
    rows, columns = (slice(its.start * CELL, its.stop * CELL) for its in cells)
    return rows, columns


def choose_window(interest: np.ndarray, max_cells: int) -> Area:
    """Return the window of at most ``max_cells`` cells with the greatest sum of ``interest``.

    Its sides are those of the whole where that fits, else as square as they can be. ``interest`` is
    ``(rows, columns)``, not negative.
    """
    rows, columns = interest.shape
    side = max(1, int(max_cells**0.5))
    height = rows if rows * columns <= max_cells else min(rows, max(side, max_cells // columns))
    width = min(columns, max_cells // height)
    sums = np.pad(interest, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    totals = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(totals.argmax()), totals.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)
