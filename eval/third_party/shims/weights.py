"""Checkpoints: read to the device that is here, as plain tensors, from where they lie."""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from eval.records.record import State
from eval.third_party.faults import SubmissionError
from eval.third_party.shims.notes import Notes


def install(notes: Notes, device: torch.device, trusted: bool, folders: Sequence[str]) -> None:
    """Replace ``torch.load`` by one that maps to the device, and unpickles code only where the user trusts it."""
    original = torch.load

    def load(f: Any, map_location: Any = None, *arguments: Any, **options: Any) -> Any:
        if map_location is None and device.type != "cuda":
            notes.note("torch.load without map_location")
        options["weights_only"] = True
        place = _located(f, folders, notes)
        try:
            return original(place, map_location if device.type == "cuda" else device, *arguments, **options)
        except (pickle.UnpicklingError, ModuleNotFoundError) as error:
            if _is_damaged(error):
                raise
            if not trusted:
                what = str(error).split(".")[0].splitlines()[0]
                text = f"its checkpoint is not plain tensors ({what}); --trust opens it, inside the sandbox only"
                raise SubmissionError(State.REFUSED, text) from None
        notes.note("torch.load of a checkpoint that runs code, trusted")
        options["weights_only"] = False
        return original(place, map_location if device.type == "cuda" else device, *arguments, **options)

    torch.load = load


def _is_damaged(error: Exception) -> bool:
    """Tell a file that is no pickle at all from one that would run code."""
    return "Unsupported" not in str(error) and "GLOBAL" not in str(error) and "not an allowed" not in str(error)


def _located(place: Any, folders: Sequence[str], notes: Notes) -> Any:
    """Return where a checkpoint lies: at its path, or by its name, whatever its case, in the folders of weights."""
    if not isinstance(place, str | os.PathLike) or Path(place).exists():
        return place
    wanted = Path(place).name.lower()
    for folder in map(Path, folders):
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.name.lower() == wanted:
                notes.note("checkpoint found under another path")
                return str(file)
    return place
