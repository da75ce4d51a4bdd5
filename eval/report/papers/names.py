"""Names beside the markers of a figure, by the rules of the page's ``names.js``; where these find no place, on a line.

Boxes are ``[x, y of the middle, half the width, half the height]``; all lengths are in points.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np

# On which side of its marker a name is tried, and how far off; to all but the nearest places a line leads.
_CORNERS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
_BETWEEN = (*((x, y / 2) for x, y in _CORNERS), *((x / 2, y) for x, y in _CORNERS))
_SIDES = np.array(((1, 0), (0, 1), (0, -1), (-1, 0), *_CORNERS, *_BETWEEN))
_BESIDE, *_FURTHER = 2.5, *range(8, 100, 6)
_DIAGONAL = 0.71


def place_names(
    middles: np.ndarray, reaches: np.ndarray, halves: Mapping[int, np.ndarray], room: np.ndarray, taken: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return where names stand: their middle, and the points of the line that leads there, none beside the marker.

    Each name lies in the room and covers no marker, no line and no name before it. Beside its marker it is less than
    half as far from that as from any other. A name without such a place is left out.

    Args:
        middles: of the markers, ``(n, 2)``.
        reaches: the markers' radii, ``(n,)``.
        halves: half of the size of each name by its marker's index, the first name first.
        room: the box that names keep to.
        taken: boxes of what is there already, ``(m, 4)``.
    """
    places = {}
    for index, half in halves.items():
        for away, side in product((_BESIDE, *_FURTHER), _SIDES):
            name = middles[index] + side * (
                half + (reaches[index] + away) * (_DIAGONAL if abs(side.prod()) == 1 else 1)
            )
            line = np.linspace(middles[index], name - side * half, 50)[: 50 * (away > _BESIDE)]
            boxes = np.vstack((np.hstack((name, half)), np.pad(line, ((0, 0), (0, 2)))))
            gaps = np.hypot(*np.maximum(np.abs(middles - name) - half, 0).T) - reaches
            clear = np.delete(gaps, index).min(initial=np.inf) > (_BESIDE if len(line) else 2 * gaps[index])
            inside = (np.abs(name - room[:2]) + half <= room[2:]).all()
            if clear and inside and not _meet(boxes, taken):
                places[index], taken = (name, line), np.vstack((taken, boxes))
                break
    return places


def _meet(some: np.ndarray, others: np.ndarray) -> bool:
    apart = np.abs(some[:, None, :2] - others[:, :2])
    return bool((apart < some[:, None, 2:] + others[:, 2:]).all(axis=2).any())
