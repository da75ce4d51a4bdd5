"""TOML files of the project and of its users, read into checked data."""

import tomllib
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
    """Read a TOML file as data of a form.

    Args:
        path: the file.
        form: what it must hold.
        note: stands behind the faults that are found.
        more: what the form needs and the file does not say.

    Raises:
        RunError: it is no TOML, lacks a key, or has an unknown one or a wrong value.
    """
    try:
        return form.model_validate(toml_of(path) | more)
    except ValidationError as error:
        raise RunError(f"{path}: {explain(error)}{note}") from error
