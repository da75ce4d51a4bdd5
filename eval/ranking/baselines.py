"""An edition's baseline: its published figures, and which label of a table is its."""

import re
from collections import defaultdict
from collections.abc import Iterable

from eval.frozen import Frozen
from eval.ranking.gates import PositiveFloat, PositiveInt

# In front of a model's name: a place in the zoo or a list of results, or a number from 0 down in a checkout of a year.
_NUMBER = re.compile(r"^((?P<year>\d{4})-(?P<own>-\d+|0+)_|(?P<place>-?\d+)_)")


def unmarked(label: str) -> str:
    """Return a label without the mark that tells versions of one model apart, as in "03_PFDNLite (5 runs)"."""
    return label.strip().partition(" (")[0]


def is_of_the_zoo(label: str) -> bool:
    """Tell whether a label has a place in the zoo, and not the year of a checkout or the name of a file's network."""
    found = _NUMBER.match(unmarked(label))
    return bool(found and found["place"])


def unnumbered(label: str) -> str:
    """Return a model's name without number and mark, by which `run --models` knows one of the zoo."""
    return _NUMBER.sub("", unmarked(label))


class Published(Frozen):
    """The baseline's figures as its organisers print them; ``runtime_ms`` is the mean of valid and test."""

    model: str
    runtime_ms: PositiveFloat
    runtime_valid_ms: PositiveFloat | None = None
    runtime_test_ms: PositiveFloat | None = None
    flops: PositiveInt
    num_params: PositiveInt
    activations: PositiveInt | None = None
    peak_memory_mib: PositiveFloat | None = None
    psnr_valid_db: PositiveFloat | None = None
    psnr_test_db: PositiveFloat | None = None

    def is_called(self, label: str) -> bool:
        """Tell whether a label is the baseline's: "RLFN", "00_RLFN", "00_RLFN_baseline" or "2024-00_RLFN_baseline".

        In a checkout organisers number theirs from 0 down; "2022-26_IMDN" is a team's that kept the network's name. A
        mark behind it, as in "00_RLFN (5 runs)", tells versions of one model apart.
        """
        return _NUMBER.sub("", unmarked(label)).removesuffix("_baseline") == self.model

    def among(self, labels: Iterable[str]) -> list[str]:
        """Return the labels that are the baseline's; a team's that kept the network's name is none.

        Of several in one list, as a file of results or one year's checkout, the one numbered 00 is the organisers'; and
        of versions of it the one without a mark, as released weights have none.
        """
        lists: dict[str | None, list[str]] = defaultdict(list)
        for label in filter(self.is_called, labels):
            lists[_year_and_number(label)[0]].append(label)
        return [label for called in lists.values() for label in _of_the_organisers(called)]


def _year_and_number(label: str) -> tuple[str | None, int | None]:
    """Return the year of the checkout that a label names, and the number in front of the model's name."""
    found = _NUMBER.match(label.strip())
    return (found["year"], int(found["own"] or found["place"])) if found else (None, None)


def _of_the_organisers(labels: list[str]) -> list[str]:
    numbered = [label for label in labels if _year_and_number(label)[1] == 0] or labels
    return [label for label in numbered if unmarked(label) == label.strip()] or numbered
