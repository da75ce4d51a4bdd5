"""Any text as text: what a terminal, Markdown, a spreadsheet or LaTeX would read as more than that is escaped.

Records of others are read as well, so whatever writes text to one of these calls ``written_out`` or ``written_lines``
itself: the terminal, ``renderers``, ``markdown_text`` and ``latex``. What they are given need not be escaped before. A
name within a sentence goes through ``visible``, so that it keeps to its line, and no two names look the same.
"""

import re
import unicodedata
from itertools import chain, pairwise

from eval.words import visible, written_lines, written_out

_INFINITE = re.compile(r"(-?)\binf\b")
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)  # fmt: skip
# Characters without a decomposition, and those of ASCII that the oldest font encoding shows as others.
_SYMBOLS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "\u00df": r"\ss{}",
    "\u00e6": r"\ae{}", "\u00c6": r"\AE{}", "\u00f8": r"\o{}", "\u00d8": r"\O{}", "\u0142": r"\l{}",
    "\u0141": r"\L{}", "\u0153": r"\oe{}", "\u0131": r"\i{}", "\u2013": "--", "\u2014": "---", "\u2018": "`",
    "\u2019": "'", "\u201c": "``", "\u201d": "''", "\u2026": r"\ldots{}", "\u00d7": r"\ensuremath{\times}",
    "\u00b1": r"\ensuremath{\pm}", "\u00b2": r"\ensuremath{^2}", "\u00b5": r"\ensuremath{\mu}",
    "\u00b7": r"\ensuremath{\cdot}",
}  # fmt: skip

# Neighbours that fonts print as another character, such as a dash or an opening mark.
_LIGATURES = frozenset(("--", "``", "''", ",,", "?`", "!`"))


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML would read as markup, and the end of a line as well."""
    return "".join(f"\\{char}" if char in r"\`*_{}[]<>#|~$&" else char for char in written_out(text))


def inert(cell: str) -> str:
    """Keep a spreadsheet from running a name as a formula."""
    return f"'{cell}" if len(cell) > 1 and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def latex(text: str) -> str:
    """Return text as LaTeX in ASCII, which plain pdflatex compiles; ends of lines stay.

    A character that LaTeX has no command for becomes its code point: [U+4E2D].
    """
    characters = [_character(char) for char in unicodedata.normalize("NFC", written_lines(text))]
    between = ("{}" if last[-1:] + char[0] in _LIGATURES else "" for last, char in pairwise(["", *characters]))
    escaped = "".join(chain.from_iterable(zip(between, characters, strict=True)))
    # After a line's end, LaTeX takes these for an argument or a star.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def latex_figure(text: str) -> str:
    """Return a printed figure as LaTeX, an infinite one by its sign."""
    return _INFINITE.sub(r"$\1\\infty$", latex(text))


def latex_text(text: str) -> str:
    """Return text that is not ``visible`` yet as LaTeX, on one line."""
    return latex(visible(text))


def _character(char: str) -> str:
    if char.isascii() or char in _SYMBOLS:
        return _SYMBOLS.get(char, f"\\{char}" if char in "#$%&_{}" else char)
    base, *marks = unicodedata.normalize("NFD", char)
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        letter = rf"\{base}" if base in "ij" else base
        return f"\\{_ACCENTS[marks[0]]}{{{letter}}}"
    return f"[U+{ord(char):04X}]"


def plain(text: str, most: int) -> str:
    """Return what a file's name can hold of a text, letters, digits and hyphens of ASCII; at most so many."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:most]
