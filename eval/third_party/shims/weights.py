"""Checkpoints: read to the device that is here, as plain tensors, from where they lie."""

import os
import pickle
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from eval.contents import Kind, kind_of
from eval.errors import RunError
from eval.records.record import State
from eval.third_party.entries import of_one_name
from eval.third_party.faults import SubmissionError
from eval.zoo.loading import read_tensors

# What torch.load may read: old files of torch are pickles, and bytes that no other kind is known by.
_TORCHS_OWN = (Kind.TORCH, Kind.PICKLE, Kind.UNKNOWN)


def install(notes: set[str], device: torch.device, trusted: bool, folders: Sequence[str]) -> None:
    """Replace ``torch.load`` by one that maps to the device, and unpickles code only where the user trusts it."""
    original = torch.load

    def load(f: Any, map_location: Any = None, *arguments: Any, **options: Any) -> Any:
        if map_location is None and device.type != "cuda":
            notes.add("torch.load without map_location")
        options["weights_only"] = True
        place = _located(f, folders, notes)
        where = map_location if device.type == "cuda" else device
        is_file = isinstance(place, str | os.PathLike) and Path(place).is_file()
        data = Path(place).read_bytes() if is_file else b""
        if is_file and kind_of(data) not in _TORCHS_OWN:
            return _read(Path(place).name, data)
        try:
            return original(place, where, *arguments, **options)
        except (pickle.UnpicklingError, ModuleNotFoundError) as error:
            if not _asks_for_code(error, data):
                raise
            if not trusted:
                what = str(error).split(".")[0].splitlines()[0]
                text = (
                    f"its checkpoint is not plain tensors ({what}): save network.state_dict(). Of a --checkout,"
                    " `run --trust` opens it, inside the sandbox only"
                )
                raise SubmissionError(State.REFUSED, text) from None
        notes.add("torch.load of a checkpoint that runs code, trusted")
        options["weights_only"] = False
        return original(place, where, *arguments, **options)

    torch.load = load


def _read(name: str, data: bytes) -> object:
    """Return the tensors of a file that is none of torch's, as the zoo reads it; of most kinds it holds none."""
    try:
        return read_tensors(Path(name), data)
    except RunError as error:
        raise SubmissionError(State.FAILED_TO_LOAD, str(error)) from None


def _asks_for_code(error: Exception, data: bytes) -> bool:
    """Tell a pickle that needs code to be run from a file that is no pickle, or a damaged one."""
    said = isinstance(error, ModuleNotFoundError) or "GLOBAL" in str(error) or "not an allowed" in str(error)
    return said or (kind_of(data) is Kind.PICKLE and _names_globals(data))


def _names_globals(data: bytes) -> bool:
    """Tell whether a pickle asks for something by its name; it is read, and none of it is run."""
    try:
        return any(opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST") for opcode, _, _ in pickletools.genops(data))
    # What no pickle is can break its reader in any way.
    except Exception:
        return False


def _located(place: Any, folders: Sequence[str], notes: set[str]) -> Any:
    """Return where a checkpoint lies: at its path, or by its name, whatever its case, in the folders of weights."""
    if not isinstance(place, str | os.PathLike) or Path(place).exists():
        return place
    found = next((file for folder in folders for file in of_one_name(place, Path(folder))), None)
    if found is None:
        return place
    notes.add("checkpoint found under another path")
    return str(found)
