"""The zoo as a table: complexity of each model, and which of its weights are on this machine."""

from collections.abc import Sequence

import rich.table

from eval.errors import RunError
from eval.report.columns import COLUMNS
from eval.report.renderers import to_terminal
from eval.report.table import Column, Table, Value
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.manifest import ModelSpec

# What is shown in 80 columns; the manifest holds the other counts.
_COUNTED = tuple(its for its in COLUMNS if its.key in {"num_params", "flops"})


def zoo_table(specs: Sequence[ModelSpec]) -> rich.table.Table:
    """Return one row a model, of one line or two in 80 columns."""
    columns = (
        Column("id", "Id"),
        Column("model", "Model", left=True),
        *_COUNTED,
        Column("weights", "Weights", left=True, wraps=True),
        Column("note", "Note", left=True, wraps=True),
    )
    rows = [(spec.id, spec.name, *_costs(spec), _weights(spec), spec.note) for spec in specs]
    return to_terminal(Table.of(columns, rows), collapse_padding=True)


def _costs(spec: ModelSpec) -> tuple[Value, ...]:
    try:
        spec.check_target()
    except RunError as error:
        return f"cannot be built: {error}", None
    return tuple(getattr(spec.counts, column.key, None) for column in _COUNTED)


def _weights(spec: ModelSpec) -> str:
    if not spec.checkpoints:
        return "no file named" if spec.target.startswith("models.") else "needs none"
    here = []
    for known in spec.checkpoints:
        try:
            find_checkpoint(spec, known.name)
            here.append(known.name)
        except RunError:
            continue
    # On lines of their own: the note needs the room.
    return ",\n".join(here) or "none"
