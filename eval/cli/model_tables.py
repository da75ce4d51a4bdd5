"""Models as tables: the zoo's with their complexity, and the entries of a checkout, known by reading alone."""

from collections.abc import Sequence

import rich.table

from eval.errors import RunError
from eval.report.columns import COLUMNS
from eval.report.renderers import to_terminal
from eval.report.table import Column, Table, Value
from eval.third_party.checkout import Checkout, Entry
from eval.zoo.checkpoints import MissingWeightsError, find_checkpoint
from eval.zoo.manifest import ModelSpec

# What is shown in 80 columns; the manifest holds the other counts.
_COUNTED = tuple(its for its in COLUMNS if its.key in {"num_params", "flops"})


def zoo_table(specs: Sequence[ModelSpec]) -> tuple[rich.table.Table, list[str]]:
    """Return one row a model, of one line or two in 80 columns, with its weights that are here; and what is wrong."""
    columns = (
        Column("id", "Id"),
        Column("model", "Model", left=True),
        *_COUNTED,
        Column("weights", "Weights", left=True),
        Column("note", "Note", left=True),
    )
    faults: list[str] = []
    rows = [(spec.id, spec.name, *_costs(spec), _weights_here(spec, faults), spec.note) for spec in specs]
    return to_terminal(Table.of(columns, rows), collapse_padding=True), faults


def _costs(spec: ModelSpec) -> tuple[Value, ...]:
    try:
        spec.check_target()
    except RunError as error:
        return f"cannot be built: {error}", None
    return tuple(getattr(spec.counts, column.key, None) for column in _COUNTED)


def _weights_here(spec: ModelSpec, faults: list[str]) -> str:
    """Return the names of a model's weights that are here; add to ``faults`` why some of them cannot be used."""
    if not spec.checkpoints:
        return "no file named" if spec.target.startswith("models.") else "needs none"
    here = []
    for known in spec.checkpoints:
        try:
            find_checkpoint(spec, known.name)
            here.append(known.name)
        except MissingWeightsError:
            continue
        except RunError as error:
            here.append(f"{known.name}: unusable")
            faults.append(f"{spec.label}, {known.name}: {error}")
    # On lines of their own: the note needs the room.
    return ",\n".join(here) or "none"


def entries_table(checkout: Checkout) -> rich.table.Table:
    """Return one row an entry: its id, its label, the range of its input, its weights and whether they are here."""
    columns = (
        Column("id", "Id", wraps=True),
        Column("entry", "Entry", left=True),
        Column("range", "Range", wraps=True),
        Column("weights", "Weights", left=True),
    )
    rows = [(its.id, its.label, _range(its), _weights_of(checkout, its)) for its in checkout.entries]
    return to_terminal(Table.of(columns, rows))


def _range(entry: Entry) -> str | None:
    return None if entry.data_range is None else f"{entry.data_range:g}"


def _weights_of(checkout: Checkout, entry: Entry) -> str:
    if entry.is_placeholder:
        return "no entry: its branch is pass"
    if not entry.defines_model:
        return entry.fault or "no model: withheld"
    places = checkout.weights_of(entry)
    named = [file if file in places else f"{file}: MISSING" for file in entry.weights]
    return ", ".join(named) or "not told by the code"
