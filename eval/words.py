"""Names, numbers and lists in sentences: what a reader sees is what is meant, on one line."""

import re
from collections.abc import Sequence

# Letters and marks by their class that show nothing: fillers, joiners, selectors of variants.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def visible(text: str) -> str:
    """Return a name as ``written_out`` does, and its backslashes doubled, so that it means no other name."""
    return written_out(text.replace("\\", "\\\\"))


def written_out(text: str) -> str:
    """Return text with everything written out that would not show: control characters, marks of direction, fillers."""
    return "".join(char if is_shown(char) else ascii(char)[1:-1] for char in text)


def written_lines(text: str) -> str:
    """Return text as ``written_out`` does, but for tabs and ends of lines, which stay."""
    return "".join(char if char in "\n\t" else written_out(char) for char in text)


def printable(text: str, instead: str = "?") -> str:
    """Return text with every character replaced that a terminal or a page would not print but obey.

    These are control characters, line ends, and marks of direction; nor would it show fillers.
    """
    return "".join(char if is_shown(char) else instead for char in text)


def first_of(words: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return words as a list, of more than ``most`` the first ones and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return separator.join(words[:most]) + more


def is_shown(char: str) -> bool:
    """Tell whether a reader sees a character, or the place that a space takes."""
    return char.isprintable() and not _BLANK.match(char)


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s: "1 image", "5 images", "2 processes"."""
    ending = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}" + ending * (number != 1)
