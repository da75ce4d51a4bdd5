"""Evaluate x4 super-resolution networks by the Efficient Super-Resolution challenge's rules.

From a notebook or a script: ``from eval import evaluate, compare, load_model, list_models, open_dataset,
load_records``; see ``eval/api.py``. Nothing heavy is imported before one of them is used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.api import Result, RunConfig, compare, evaluate, list_models, load_model, load_records, open_dataset

__all__ = ["Result", "RunConfig", "compare", "evaluate", "list_models", "load_model", "load_records", "open_dataset"]


# By name only when it is asked for: what notebooks import is no part of what figures are made of (eval/sources.py).
_API = "eval.api"


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module(_API), name)
    raise AttributeError(f"module 'eval' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
