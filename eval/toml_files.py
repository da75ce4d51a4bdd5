"""TOML files of the project and of its users, read into checked data."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from eval.errors import RunError, explain

Form = TypeVar("Form", bound=BaseModel)


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
        return form.model_validate(tomllib.loads(path.read_text(encoding="utf-8")) | more)
    except ValidationError as error:
        raise RunError(f"{path}: {explain(error)}{note}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: {error}") from error
