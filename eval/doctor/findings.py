"""What a check found: that something computes right or wrong, or a note about what is here and what is not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from eval.errors import one_reason


class Outcome(StrEnum):
    """What a finding means; only ``WRONG`` says that figures of this installation are not to be trusted."""

    RIGHT = "right"
    WRONG = "wrong"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, what that means, and the details in words."""

    what: str
    outcome: Outcome
    words: str


def judged(what: str, right: bool, words: str) -> Finding:
    """Return the finding of a check with a known answer."""
    return Finding(what, Outcome.RIGHT if right else Outcome.WRONG, words)


def noted(what: str, words: str) -> Finding:
    """Return a finding that is neither right nor wrong."""
    return Finding(what, Outcome.NOTE, words)


def examined(what: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check; one that cannot be carried out is wrong, and the others go on."""
    try:
        yield from check()
    except Exception as error:
        yield judged(what, False, f"could not be checked: {one_reason(error)}")
