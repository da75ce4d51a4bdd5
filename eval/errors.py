"""The errors that a user can cause and mend; commands print them without a traceback."""

import re
from collections.abc import Sequence

from pydantic import ValidationError

_MOST_CHARACTERS = 200
# Letters and marks by their class that show nothing: fillers, joiners, selectors of variants.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


class UsageError(ValueError):
    """The command asks for something that does not exist or does not fit together; exit code 2."""


class RunError(RuntimeError):
    """Something needed is missing or wrong, so the work cannot be done; exit code 1."""


class EngineError(RunError):
    """An engine cannot run a network, or lacks something on this machine; another one may do."""


class MissingPartError(EngineError):
    """An engine lacks a program or a folder on this machine; nothing is said of what it computes."""


def explain(error: ValidationError) -> str:
    """Return what data lacks, one "where: what" a fault, on one line."""
    faults = (f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}" for fault in error.errors())
    return "; ".join(faults)


def printable(text: str, instead: str = "?") -> str:
    """Return text with every character replaced that a terminal or a page would not print but obey.

    These are control characters, line ends, and marks of direction; nor would it show fillers.
    """
    return "".join(char if is_shown(char) else instead for char in text)


def first_of(words: Sequence[str], most: int) -> str:
    """Return words with commas, of more than ``most`` the first ones and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def is_shown(char: str) -> bool:
    """Tell whether a reader sees a character, or the place that a space takes."""
    return char.isprintable() and not _BLANK.match(char)


def one_reason(error: BaseException) -> str:
    """Return the first line of what an error says, with its type unless it is one of ours; cut to a note's length."""
    said = (str(error).strip().splitlines() or ["no reason given"])[0]
    told = said if isinstance(error, (UsageError, RunError)) else f"{type(error).__name__}: {said}"
    return printable(told)[:_MOST_CHARACTERS]
