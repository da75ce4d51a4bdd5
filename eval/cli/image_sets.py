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
from eval.data.finding import FolderError, sets_in
from eval.errors import RunError, UsageError
from eval.files import why_no_folder


def show_data(
    folder: Annotated[Path | None, typer.Argument(help="Folder that holds image sets, or one set itself.")] = None,
    data_dir: DataDir = None,
    datasets: Datasets = None,
) -> None:
    """List the image sets of a folder: where HR and LR images are, how they pair, and how many; no model is run."""
    place = folder or data_dir
    if place is None:
        raise UsageError("data: give a folder, or set ESR_DATA")
    if reason := why_no_folder(place):
        raise UsageError(f"{place}: {reason}; give the folder of your image sets, by argument, --data_dir or ESR_DATA")
    terminal, faulty = Terminal(), False
    first, *others = split(datasets) or sets_in(place)
    if not others:
        _describe(terminal, place, first)
        return
    for name in (first, *others):
        try:
            _describe(terminal, place, name)
        except (UsageError, RunError) as error:
            terminal.warn(str(error))
            faulty = True
    if faulty:
        raise typer.Exit(FAILURE_EXIT)


def _describe(terminal: Terminal, folder: Path, name: str | None) -> None:
    """Describe a set, with the command that runs a model on it."""
    try:
        dataset = open_dataset(folder, name)
    except FolderError as error:
        raise UsageError(error.said("", "give one of them")) from error
    terminal.announce_data(dataset)
    if name and split(name) != [name]:
        # A comma separates names of sets.
        folder, name = folder / name, None
    choice = f" --dataset {shlex.quote(name)}" if name else ""
    terminal.say(f"         python test_demo.py --model_id 3 --data_dir {shlex.quote(str(folder))}{choice}")
