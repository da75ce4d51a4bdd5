"""What a network returned, in words: where it is no image, what to return instead."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_MOST_PARTS = 6
_ALONE = "return the x4 image alone, by a wrapper: class Wrapped(Net): forward = lambda self, x: super().forward(x)"


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


def _is(part: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(part, Tensor) and tuple(part.shape) == shape
