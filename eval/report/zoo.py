"""The zoo as a table: complexity of each model, and which of its weights are on this machine."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from eval.errors import RunError
from eval.metrics.complexity import measure_complexity
from eval.report.columns import COLUMNS
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.manifest import ModelSpec


def zoo_table(specs: Sequence[ModelSpec]) -> Table:
    """Return one row a model."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for title in ("Id", "Model", "Params\n[M]", "FLOPs\n[G]", "Acts\n[M]", "Conv"):
        table.add_column(Text(title), justify="left" if title == "Model" else "right", no_wrap=True)
    table.add_column("Weights here")
    table.add_column("Note")
    for spec in specs:
        table.add_row(str(spec.id), spec.name, *_costs(spec), _weights(spec), spec.note)
    return table


def _costs(spec: ModelSpec) -> tuple[str, ...]:
    if not spec.checkpoints:
        return ("-",) * 4
    try:
        complexity = measure_complexity(spec.build())
    except RunError as error:
        return (f"cannot be built: {error}", "-", "-", "-")
    keys = {"num_params", "flops", "activations", "num_conv"}
    return tuple(column.rounded(getattr(complexity, column.key)) for column in COLUMNS if column.key in keys)


def _weights(spec: ModelSpec) -> str:
    if not spec.checkpoints:
        return "needs none"
    here = []
    for known in spec.checkpoints:
        try:
            find_checkpoint(spec, known.name)
            here.append(known.name)
        except RunError:
            continue
    return ", ".join(here) or "none"
