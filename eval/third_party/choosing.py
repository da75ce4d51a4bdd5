"""From what a command line says to the submissions that it means."""

from collections.abc import Sequence
from pathlib import Path

from eval.data.datasets import Dataset
from eval.errors import UsageError
from eval.files import why_no_file, why_no_folder, why_unfit
from eval.run.model_source import ModelSource
from eval.third_party.bubblewrap import shows
from eval.third_party.checkout import read_checkout
from eval.third_party.entries import Checkout, Entry
from eval.third_party.kinds import openings
from eval.third_party.submission import LARGEST_RANGE, ModelFile, Rules, Submission


def read_checkouts(paths: Sequence[Path]) -> list[Checkout]:
    """Read several checkouts.

    Raises:
        UsageError: one is none, or two are of the same edition, so that their entries could not be told apart.
    """
    checkouts = [read_checkout(path) for path in paths]
    for index, checkout in enumerate(checkouts):
        if twins := [other.path for other in checkouts[:index] if other.origin == checkout.origin]:
            raise UsageError(f"--checkout {checkout.path}: is of {checkout.origin}, as is {twins[0]}; run them apart")
    return checkouts


def choose_submissions(checkouts: Sequence[Checkout], keys: Sequence[str], rules: Rules) -> list[Submission]:
    """Return the entries that are meant: "all", ids, names or labels; an id means that entry of every checkout.

    A placeholder of the template is no entry: only its id or name means it.

    Raises:
        UsageError: a key means no entry of any checkout.
    """
    entries = [(checkout, entry) for checkout in checkouts for entry in checkout.entries]
    unknown = [key for key in keys if key != "all" and not any(_means(key, entry) for _, entry in entries)]
    if unknown:
        names = {its.origin: ", ".join(f"{entry.id} {entry.name}" for entry in its.entries) for its in checkouts}
        there = "; ".join(f"{origin}: {listed}" for origin, listed in names.items())
        raise UsageError(f"--models {','.join(unknown)}: no such entry. There are: {there}")
    return [
        Submission(checkout, entry, rules)
        for checkout, entry in entries
        if ("all" in keys and not entry.is_placeholder) or any(_means(key, entry) for key in keys)
    ]


def choose_model_file(
    target: str, checkpoint: Path | None, data_range: float, rules: Rules, more: Sequence[Path] = ()
) -> ModelFile:
    """Return the class or function of a single file that ``FILE.py:NAME`` means; without a checkpoint it is untrained.

    Its code may read the folders ``more``.

    Raises:
        UsageError: a part is missing, does not exist or makes no sense.
    """
    file, _, class_name = target.rpartition(":")
    if not file or not class_name.isidentifier():
        raise UsageError(f"{target}: expected FILE.py:NAME, as in my_network.py:MyNetwork")
    if not 0 < data_range <= LARGEST_RANGE:
        raise UsageError(f"--data_range {data_range}: expected a positive number, 1 or 255 in the challenge")
    # Commands take the code by --model_file, or as it is.
    for name, path in ((file, Path(file)), (f"--checkpoint {checkpoint}", checkpoint)):
        if path and (reason := why_no_file(path)):
            raise UsageError(f"{name}: {reason}")
        if path and (unfit := why_unfit(path, path.parent)):
            raise UsageError(f"{name}: {unfit}; name the file itself if it may be read")
    for folder in more:
        if reason := why_no_folder(folder):
            raise UsageError(f"--with {folder}: {reason}")
    folders, weights = tuple(folder.resolve() for folder in more), checkpoint and checkpoint.resolve()
    return ModelFile(Path(file).resolve(), class_name, weights, data_range, rules, folders)


def check_out_of_sight(datasets: Sequence[Dataset], sources: Sequence[ModelSource]) -> None:
    """Refuse HR images that third-party code among the sources could read.

    Raises:
        UsageError: some lie in the folders that are handed to it, or among the programs that every sandbox shows.
    """
    theirs = [source for source in sources if isinstance(source, Submission | ModelFile)]
    folders = [folder for source in theirs for folder in source.given_folders]
    for dataset in datasets if theirs else ():
        for file in (pair.hr for pair in dataset.pairs if pair.hr is not None):
            if shows(file) or any(file.resolve().is_relative_to(folder) for folder in folders):
                raise UsageError(
                    f"--data_dir {dataset.folder}: third-party code can read {file.name} there, the HR image that it is"
                    " judged by; move the set out of the checkout, out of --with, of system folders and of eval/"
                )


def openings_of(sources: Sequence[ModelSource]) -> list[str]:
    """Return what the sandboxes of third-party code among the sources leave open on this machine."""
    kinds = {source.rules.sandbox for source in sources if isinstance(source, Submission | ModelFile)}
    return [opening for kind in sorted(kinds) for opening in openings(kind)]


def _means(key: str, entry: Entry) -> bool:
    return key in (str(entry.id), f"{entry.id:02}") or key.lower() in (entry.name.lower(), entry.label.lower())
