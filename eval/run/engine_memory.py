"""What ``auto`` took, kept beside the compiled graphs: it decides once for a network, a machine and its versions."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from eval.cache import download_cache
from eval.config import AUTO, RunConfig, one_form
from eval.errors import RunError
from eval.files import PROJECT, write_whole
from eval.inference.engines.choosing import Choice
from eval.inference.engines.registry import ENGINES
from eval.run.keys import hash_of, libraries, machine
from eval.sources import hash_of_sources
from eval.zoo.model_info import ZOO, ModelInfo

_FOLDER = "engines"
_DECIDING = ("eval.inference.engines.choosing", *(engine.module for engine in ENGINES.values()))


def remembered(
    info: ModelInfo, config: RunConfig, placed_tiles: bool, choose: Callable[[], Choice]
) -> tuple[Choice, bool]:
    """Return what ``auto`` took before, or what ``choose`` takes now; and whether it was decided now.

    Where nothing can be written the next command decides again.
    """
    path = None
    try:
        path = _place(info, config, placed_tiles)
        return Choice.model_validate_json(path.read_bytes()), False
    except (OSError, RunError, ValidationError):
        choice = choose()
    found_out = bool(choice.tried_ms)
    if found_out and path is not None:
        with contextlib.suppress(OSError):
            write_whole(path, choice.model_dump_json())
    return choice, found_out


def threads_of(info: ModelInfo, config: RunConfig) -> int | None:
    """Return on how many threads a network runs: of the zoo's several may run at once, each on its share."""
    return config.threads_each if info.origin == ZOO else config.threads


def _place(info: ModelInfo, config: RunConfig, placed_tiles: bool) -> Path:
    """Return the file of everything that the decision depends on."""
    decision = {
        "model": [info.source_sha256, info.weights_sha256, info.data_range],
        "machine": machine(config.device),
        "libraries": libraries(AUTO),
        "code": hash_of_sources(PROJECT, _DECIDING),
        "how": [one_form(config.device), threads_of(info, config), config.precision, config.tf32, placed_tiles],
    }
    return download_cache() / _FOLDER / f"{hash_of(decision)}.json"
