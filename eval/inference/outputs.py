"""What a network returned, in words: where it is no image, what to return instead; and whether its range is odd."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from eval.metrics.figures import Flag

_MOST_PARTS = 6
_ALONE = "return the x4 image alone, by a wrapper: class Wrapped(Net): forward = lambda self, x: super().forward(x)"
# An output of another range than the stated one is this many times brighter or darker than its input.
_RANGE_FACTOR = 10.0
_DARK = 0.02


def output_in_words(output: Any) -> str:
    """Return type and shape of a network's output, part by part."""
    if isinstance(output, Tensor):
        return f"{str(output.dtype).removeprefix('torch.')} {tuple(output.shape)}"
    if isinstance(output, Mapping):
        parts = [f"{key!r}: {output_in_words(value)}" for key, value in list(output.items())[:_MOST_PARTS]]
        return f"a {type(output).__name__} of {len(output)}: {', '.join(parts)}"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}: {', '.join(map(output_in_words, output[:_MOST_PARTS]))}"
    return type(output).__name__


def what_to_return(output: Any, expected: tuple[int, ...]) -> str:
    """Return what to do about an output that is not of the expected shape; empty where nothing is known."""
    if isinstance(output, Mapping):
        return f"; {_ALONE}[{next((repr(key) for key, part in output.items() if _is(part, expected)), 'KEY')}]"
    if isinstance(output, (tuple, list)):
        return f"; {_ALONE}[{next((at for at, part in enumerate(output) if _is(part, expected)), 0)}]"
    if isinstance(output, Tensor) and tuple(output.shape) == expected[1:]:
        return "; the batch axis is missing: return it with [None]"
    return ""


def range_flag(mean_in: float, mean_out: float, data_range: float) -> Flag | None:
    """Return a flag if an output's mean lies far from its input's, both as shares of the data range; else None.

    It is a guess, since networks may do that.
    """
    if mean_in <= _DARK or mean_in / _RANGE_FACTOR < mean_out < mean_in * _RANGE_FACTOR:
        return None
    means = f"its output's mean is {mean_out:.3g} of the data range {data_range:g}, the input's {mean_in:.3g}"
    return Flag(code="range", text=f"{means}: perhaps it is untrained, or the data range is another one")


def _is(part: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(part, Tensor) and tuple(part.shape) == shape
