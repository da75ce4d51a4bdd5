"""What is wrong with values that pydantic refuses, in the words of our other errors."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

# By pydantic's kinds of faults; of others its own words are told.
_EXPECTED = {
    "missing": "a value",
    "unexpected_keyword_argument": "no such key",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "multiple_of": "a multiple of {multiple_of}",
    "tuple_type": "a list of numbers",
    "too_long": "{max_length} values",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
}


def faults_of(error: ValidationError) -> str:
    """Return for each value that was refused its key, what was expected, and what came."""
    return "; ".join(_told(**fault) for fault in error.errors())


def _told(loc: tuple, type: str, msg: str, input: Any, ctx: Mapping[str, Any] | None = None, **_: Any) -> str:
    if type in _EXPECTED:
        expected = _EXPECTED[type].format_map(ctx or {})
    else:
        expected = (ctx or {}).get("error", msg.removeprefix("Input should be "))
    came = "none" if type == "missing" else repr(input)
    return f"{'.'.join(map(str, loc))}: expected {expected}, got {came}"
