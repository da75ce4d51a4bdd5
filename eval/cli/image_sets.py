"""``python -m eval data``: what a folder of images is taken for, before anything runs on it."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from eval.cli.flags import DataDir, Datasets
from eval.cli.program import FAILURE_EXIT
from eval.cli.terminal import Terminal
from eval.config import split
from eval.data.datasets import open_dataset
from eval.data.layouts import list_datasets
from eval.errors import RunError, UsageError


def show_data(
    folder: Annotated[Path | None, typer.Argument(help="Folder that holds image sets, or one set itself.")] = None,
    data_dir: DataDir = None,
    datasets: Datasets = None,
) -> None:
    """Say what a folder of images is taken for: where HR and LR are, how they pair, how many; nothing is run."""
    place = folder or data_dir
    if place is None:
        raise UsageError("data: give a folder, or set ESR_DATA")
    terminal = Terminal()
    names = split(datasets) or _names(place)
    faults = sum(_is_faulty(terminal, place, name) for name in names)
    if faults:
        raise typer.Exit(FAILURE_EXIT)


def _names(folder: Path) -> list[str | None]:
    """Return the sets of a folder by name; None alone for a folder that is one set."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    names = list_datasets(folder)
    return [*names] if len(names) > 1 else [None]


def _is_faulty(terminal: Terminal, folder: Path, name: str | None) -> bool:
    """Describe a set, with the command that runs a model on it; tell whether it cannot be used."""
    try:
        dataset = open_dataset(folder, name)
    except RunError as error:
        terminal.warn(str(error))
        return True
    terminal.announce_data(dataset)
    choice = f" --dataset {shlex.quote(name)}" if name else ""
    terminal.say(f"         python test_demo.py --model_id 3 --data_dir {shlex.quote(str(folder))}{choice}")
    return False
