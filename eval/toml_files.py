"""TOML files of the project and of its users, read into checked data."""

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from eval.contents import text_of
from eval.errors import RunError, explain

Form = TypeVar("Form", bound=BaseModel)


def toml_of(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds, UTF-8 whatever the locale, or as its mark says.

    Raises:
        RunError: it is none; the message names the file and the place.
    """
    try:
        return tomllib.loads(text_of(path.read_bytes()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: {error}") from error


def read_toml(path: Path, form: type[Form], note: str = "", **more: Any) -> Form:
    """Read a TOML file as data of a form; ``more`` is what this needs besides, ``note`` stands behind faults.

    Raises:
        RunError: it is no TOML, lacks a key, or has an unknown one or a wrong value.
    """
    try:
        return form.model_validate(toml_of(path) | more)
    except ValidationError as error:
        text = text_of(path.read_bytes())
        lines = {str(line) for fault in error.errors() if (line := line_of(text, fault["loc"]))}
        where = f" (line {', '.join(sorted(lines, key=int))})" if lines else ""
        raise RunError(f"{path}: {explain(error)}{where}{note}") from error


def line_of(text: str, place: Sequence[str | int]) -> int | None:
    """Return the line of a TOML text, from 1, at which a value stands, or the nearest table or array around it.

    ``place`` are keys and places in arrays, from the outside in, as pydantic gives them.
    """
    counts: Counter[tuple[str | int, ...]] = Counter()
    table: tuple[str | int, ...] = ()
    best, line = 0, None
    for number, content in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[(\[?)\s*([^\[\]]+?)\s*\]", content)
        key = re.match(r"\s*([\w.-]+)\s*=", content)
        if header:
            *outer, last = header.group(2).split(".")
            parent: tuple[str | int, ...] = ()
            for part in outer:
                parent += (part, counts[(*parent, part)] - 1) if (*parent, part) in counts else (part,)
            table = (*parent, last)
            if header.group(1):
                counts[table] += 1
                table += (counts[table] - 1,)
        found = table if header else (*table, *key.group(1).split(".")) if key else ()
        # A place may be a whole array, of which lines name the tables one by one: the first of them is meant.
        depth = min(len(found), len(place))
        if depth > best and found[:depth] == tuple(place[:depth]):
            best, line = depth, number
    return line
