"""The entries of an official checkout as a table, known by reading alone."""

from rich import box
from rich.table import Table
from rich.text import Text

from eval.third_party.checkout import Checkout, Entry, is_present


def entries_table(checkout: Checkout) -> Table:
    """Return one row an entry: its id, its label, the range of its input, its weights and whether they are here."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in ("Id", "Entry", "Range", "Weights"):
        table.add_column(title, justify="right" if title in ("Id", "Range") else "left")
    for entry in checkout.entries:
        data_range = "-" if entry.data_range is None else f"{entry.data_range:g}"
        table.add_row(*map(Text, (str(entry.id), entry.label, data_range, _weights(checkout, entry))))
    return table


def _weights(checkout: Checkout, entry: Entry) -> str:
    if not entry.defines_model:
        return "no model: withheld"
    if not entry.weights:
        return "not told by the code"
    return ", ".join(file if is_present(checkout.path / file) else f"{file}: MISSING" for file in entry.weights)
