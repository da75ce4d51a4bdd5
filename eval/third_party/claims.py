"""What a worker claims: nothing of it is taken for granted, and what is wrong ends its model alone."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, ValidationError

from eval.frozen import Frozen
from eval.metrics.complexity import INPUT_SIDE
from eval.metrics.figures import Complexity, Flag
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.third_party.faults import one_line

FLOAT_BYTES = 4
_MOST_OPERATORS = 200
_MOST_UNKNOWN = 5
_MOST = 2**60
_MOST_MIB = 2**30
_LONGEST_MS = 3_600_000.0
# What weights may be.
_TYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}
# Names, shapes and padding; and how often the numbers of a network may stand in its file.
_OVERHEAD_BYTES, _COPIES = 2**16, 4
_Count = Annotated[int, Field(ge=0, lt=_MOST, strict=True)]


class GraphCounts(Frozen):
    """What is counted while a graph super-resolves an image.

    Attributes:
        flops: multiply-adds by torch's dispatcher.
        values: what operators compute one by one, which no counter counts.
        unknown: operators that no counter has a rule for, and that are not known to multiply by nothing.
    """

    num_params: _Count
    flops: _Count
    values: _Count
    unknown: tuple[str, ...]


def checked_mib(told: Any) -> float | None:
    """Return an amount of memory in MiB; None for what is none."""
    return told if type(told) is float and 0 <= told < _MOST_MIB else None


def checked_ms(told: Any) -> float | None:
    """Return a time in ms; None for what is none."""
    return told if type(told) is float and 0 < told < _LONGEST_MS else None


def check_shape(header: dict[str, Any], expected: tuple[int, ...]) -> None:
    """Refuse an output that is said to have another shape than ``expected``, or to hold no floats."""
    shape, dtype = header.get("shape"), header.get("dtype")
    if shape != list(expected) or dtype not in ("float32", "float64", "float16", "bfloat16"):
        batch = "; the batch axis is missing: return it with [None]" if shape == list(expected[1:]) else ""
        got = one_line(f"{dtype} {tuple(shape)}{batch}" if isinstance(shape, list) and shape else str(dtype))
        raise CannotRunError(State.INVALID_OUTPUT, f"expected a float output of shape {expected}, got {got}")


def checked_output(payload: Any, expected: Sequence[int]) -> torch.Tensor:
    """Return the output as a float32 tensor of a shape that was agreed on; refuse what cannot be an SR image."""
    if len(payload) != math.prod(expected) * FLOAT_BYTES:
        raise CannotRunError(State.INVALID_OUTPUT, f"returned {len(payload):,} bytes for the shape {expected}")
    sr = np.frombuffer(payload, np.float32).reshape(expected)
    if not np.isfinite(sr).all():
        raise CannotRunError(State.INVALID_OUTPUT, "the output holds values that are not finite (NaN or inf)")
    return torch.from_numpy(sr)


def checked_complexity(header: dict[str, Any]) -> Complexity:
    """Return the counts that the worker claims, within limits, with names that are safe to print.

    What follows from them, or is counted apart, is no claim.
    """
    try:
        complexity = Complexity.model_validate(header.get("complexity"))
        numbers = [value for value in complexity.model_dump().values() if isinstance(value, int)]
        names = [*complexity.uncounted_ops, *complexity.suspect_ops, *complexity.flops_by_operator, *complexity.faults]
        numbers += [*complexity.uncounted_ops.values(), *complexity.flops_by_operator.values()]
        if not all(0 <= number < _MOST for number in numbers) or len(names) > _MOST_OPERATORS:
            raise ValueError
    except ValueError:
        raise CannotRunError(State.FAILED_TO_RUN, "its process returned no counts") from None
    ours = {"input_side": INPUT_SIDE, "flops_bound": complexity.num_params * INPUT_SIDE**2, "flops_apart": None}
    return Complexity.model_validate(in_one_line(complexity.model_dump()) | ours)


def checked_counts(told: Any) -> GraphCounts:
    """Return the counts of a graph, within limits."""
    try:
        counts = GraphCounts.model_validate(told)
    except ValidationError:
        raise CannotRunError(State.FAILED_TO_RUN, "its graph could not be counted") from None
    return counts.model_copy(update={"unknown": tuple(one_line(name[:80]) for name in counts.unknown[:_MOST_UNKNOWN])})


def checked_state(told: Any) -> dict[str, torch.Tensor]:
    """Return a state dict of empty tensors, of the names and types that are told."""
    types = {name: _TYPES.get(str(kind)) for name, kind in told.items()} if isinstance(told, dict) else {"": None}
    if None in types.values():
        raise CannotRunError(State.FAILED_TO_RUN, "its process did not name its weights")
    return {name: torch.empty(0, dtype=dtype) for name, dtype in types.items()}


def disagreement(num_params: int | None, weights_bytes: int | None) -> str | None:
    """Return how a claimed number of parameters and the size of the file of weights disagree; None if they may agree.

    A parameter takes between one byte and four; a file may hold an average and an optimizer's two moments besides.
    """
    if num_params is None or weights_bytes is None:
        return None
    most = max(weights_bytes - _OVERHEAD_BYTES, 0) // FLOAT_BYTES
    if num_params <= weights_bytes and most <= _COPIES * num_params:
        return None
    return f"{num_params:,} parameters were counted, and the file of weights has {weights_bytes:,} bytes"


def checked_flags(header: dict[str, Any]) -> list[Flag]:
    """Return the flags that the worker raised; one that is no flag is left out."""
    flags, claimed = [], header.get("flags")
    for claim in claimed[:10] if isinstance(claimed, list) else []:
        with suppress(ValidationError):
            flag = Flag.model_validate(claim)
            flags.append(Flag(code=flag.code, text=one_line(flag.text)))
    return flags


def in_one_line(claim: Any) -> Any:
    """Return plain data with every text in it made safe to print."""
    if isinstance(claim, str):
        return one_line(claim)
    if isinstance(claim, list | tuple):
        return [in_one_line(item) for item in claim[:_MOST_OPERATORS]]
    if isinstance(claim, dict):
        return {one_line(str(key)): in_one_line(value) for key, value in list(claim.items())[:_MOST_OPERATORS]}
    return claim
