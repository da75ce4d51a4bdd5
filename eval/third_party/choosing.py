"""From what a command line says to the submissions that it means."""

import math
from collections.abc import Sequence
from pathlib import Path

from eval.errors import UsageError
from eval.third_party.checkout import Checkout, Entry, read_checkout
from eval.third_party.submission import LARGEST_RANGE, ModelFile, Rules, Submission


def read_checkouts(paths: Sequence[Path]) -> list[Checkout]:
    """Read several checkouts.

    Raises:
        UsageError: one is none, or two are of the same edition, so that their entries could not be told apart.
    """
    checkouts = [read_checkout(path) for path in paths]
    for index, checkout in enumerate(checkouts):
        twins = [other.path for other in checkouts[:index] if other.origin == checkout.origin]
        if twins:
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
        there = "; ".join(f"{checkout.origin}: {_listed(checkout)}" for checkout in checkouts)
        raise UsageError(f"--models {','.join(unknown)}: no such entry. There are: {there}")
    return [
        Submission(checkout, entry, rules)
        for checkout, entry in entries
        if ("all" in keys and not entry.is_placeholder) or any(_means(key, entry) for key in keys)
    ]


def choose_model_file(target: str, checkpoint: Path | None, data_range: float | None, rules: Rules) -> ModelFile:
    """Return the class or function of a single file that ``FILE.py:NAME`` means; without a checkpoint it is untrained.

    Raises:
        UsageError: a part is missing, does not exist or makes no sense.
    """
    file, _, class_name = target.rpartition(":")
    if not file or not class_name.isidentifier():
        raise UsageError(f"--model_file {target}: expected FILE.py:CLASS")
    if not Path(file).is_file():
        raise UsageError(f"--model_file {target}: {file}: no such file")
    if checkpoint is not None and not checkpoint.is_file():
        raise UsageError(f"--checkpoint {checkpoint}: no such file")
    if data_range is None or not math.isfinite(data_range) or not 0 < data_range <= LARGEST_RANGE:
        raise UsageError(f"--model_file {target}: needs --data_range, 1 or 255 in the challenge, got {data_range}")
    return ModelFile(Path(file).resolve(), class_name, checkpoint and checkpoint.resolve(), float(data_range), rules)


def _means(key: str, entry: Entry) -> bool:
    return key in (str(entry.id), f"{entry.id:02}") or key.lower() in (entry.name.lower(), entry.label.lower())


def _listed(checkout: Checkout) -> str:
    return ", ".join(f"{entry.id} {entry.name}" for entry in checkout.entries)
