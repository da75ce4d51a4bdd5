"""A results.txt that lies beside a results.json: where it says something else."""

from pathlib import Path

from eval.contents import text_of
from eval.errors import RunError

# Both round to the digits that they print.
_ROUNDED = 1.01


def differences(file: Path, expected: str) -> list[str]:
    """Return a sentence for each model and figure in which a results.txt differs from the table made of the values.

    ``expected`` has the same columns, separated by tabs.

    Raises:
        RunError: the file is no text.
    """
    try:
        stated = _rows(text_of(file.read_bytes()))
    except (UnicodeDecodeError, OSError) as error:
        raise RunError(f"{file}: cannot be read ({error})") from error
    heading, *computed = _rows(expected)
    by_model = {cells[0]: cells for cells in stated}
    found = []
    for cells in computed:
        theirs = by_model.get(cells[0])
        if theirs is None or len(theirs) != len(cells):
            found.append(f"{cells[0]}: {'is not there' if theirs is None else 'has other columns'}")
            continue
        for title, its, ours in zip(heading[1:], theirs[1:], cells[1:], strict=True):
            if _differ(its, ours):
                found.append(f"{cells[0]}: {title} {its}, of its values {ours}")
    return found


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("\t")] for line in text.splitlines() if "\t" in line]


def _differ(stated: str, computed: str) -> bool:
    """Tell whether two printed figures differ by more than the digits of the coarser one."""
    try:
        decimals = min(len(cell.partition(".")[2]) for cell in (stated, computed))
        return abs(float(stated) - float(computed)) > _ROUNDED * 10**-decimals
    except ValueError:
        return stated != computed
