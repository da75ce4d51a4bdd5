"""Any text as LaTeX that every engine reads: plain ASCII, nothing in it a command, whatever a name holds."""

import unicodedata

from eval.report.columns import visible
from eval.report.latex import latex

_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
# Characters without a decomposition, and those of ASCII that the oldest font encoding shows as others.
_SYMBOLS = {
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\u00df": r"\ss{}",
    "\u00e6": r"\ae{}",
    "\u00c6": r"\AE{}",
    "\u00f8": r"\o{}",
    "\u00d8": r"\O{}",
    "\u0142": r"\l{}",
    "\u0141": r"\L{}",
    "\u0153": r"\oe{}",
    "\u0131": r"\i{}",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u2026": r"\ldots{}",
    "\u00d7": r"\ensuremath{\times}",
    "\u00b1": r"\ensuremath{\pm}",
    "\u00b2": r"\ensuremath{^2}",
    "\u00b5": r"\ensuremath{\mu}",
    "\u00b7": r"\ensuremath{\cdot}",
}


def latex_text(text: str) -> str:
    """Return text as LaTeX; a character that LaTeX has no command for becomes its code point, as in [U+4E2D]."""
    escaped = "".join(map(_character, unicodedata.normalize("NFC", visible(text))))
    # After a line's end, LaTeX takes these for an argument or a star.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def _character(char: str) -> str:
    if char in _SYMBOLS:
        return _SYMBOLS[char]
    if char.isascii():
        return latex(char)
    base, *marks = unicodedata.normalize("NFD", char)
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        letter = rf"\{base}" if base in "ij" else base
        return f"\\{_ACCENTS[marks[0]]}{{{letter}}}"
    return f"[U+{ord(char):04X}]"
