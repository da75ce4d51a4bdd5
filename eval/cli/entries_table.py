"""The entries of an official checkout as a table, known by reading alone."""

import rich.table

from eval.report.renderers import to_terminal
from eval.report.table import Column, Table
from eval.third_party.checkout import Checkout, Entry


def entries_table(checkout: Checkout) -> rich.table.Table:
    """Return one row an entry: its id, its label, the range of its input, its weights and whether they are here."""
    columns = (
        Column("id", "Id", wraps=True),
        Column("entry", "Entry", left=True, wraps=True),
        Column("range", "Range", wraps=True),
        Column("weights", "Weights", left=True, wraps=True),
    )
    ranges = [None if entry.data_range is None else f"{entry.data_range:g}" for entry in checkout.entries]
    rows = [
        (entry.id, entry.label, data_range, _weights(checkout, entry))
        for entry, data_range in zip(checkout.entries, ranges, strict=True)
    ]
    return to_terminal(Table.of(columns, rows))


def _weights(checkout: Checkout, entry: Entry) -> str:
    if entry.is_placeholder:
        return "no entry: its branch is pass"
    if not entry.defines_model:
        return "no model: withheld"
    if not entry.weights:
        return "not told by the code"
    places = checkout.weights_of(entry)
    return ", ".join(file if file in places else f"{file}: MISSING" for file in entry.weights)
