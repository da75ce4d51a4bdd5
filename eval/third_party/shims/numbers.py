"""Names that numpy had once: aliases of Python's own types, removed in 1.24."""

from typing import Any

import numpy as np

_REMOVED = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str}


def install(notes: set[str]) -> None:
    """Answer for the removed names where numpy itself does not."""
    numpys_own = vars(np)["__getattr__"]

    def named(name: str) -> Any:
        if name in _REMOVED:
            notes.add(f"numpy.{name}")
            return _REMOVED[name]
        return numpys_own(name)

    np.__getattr__ = named
