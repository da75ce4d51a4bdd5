"""What a former report left in a folder, of the files that not every report writes."""

import re
from collections.abc import Collection
from pathlib import Path

FIGURE_FOLDER, CHALLENGE_TABLE = "figures", "challenge.tex"
_FIGURE = re.compile(r"\d+-(tradeoff|comparison|strip)-[A-Za-z0-9-]*\.(pdf|png)")


def former_figures(folder: Path, written: Collection[Path]) -> list[Path]:
    """Return the figures, known by their names, that lie in a report's folder and are none of those written now."""
    figures = (folder / FIGURE_FOLDER).glob("*")
    return sorted(its for its in figures if _FIGURE.fullmatch(its.name) and its.is_file() and its not in written)


def former_files(folder: Path, written: Collection[Path]) -> list[Path]:
    """Return the challenge's tables and the figures that a former report wrote to a folder and this one did not."""
    table = folder / CHALLENGE_TABLE
    return [*([table] if table.is_file() and table not in written else []), *former_figures(folder, written)]
