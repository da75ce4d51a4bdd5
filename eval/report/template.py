"""The challenge template's results.txt, to every character: its columns, widths and formats."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eval.data.aliases import ALIASES
from eval.records.conditions import Conditions
from eval.records.current import Group
from eval.records.record import Record
from eval.report.table import NONE
from eval.words import counted, visible

_TEMPLATE = "{:20s}\t{:10s}\t{:14s}\t{:10s}\t{:10s}\t{:8s}\t{:8s}\t{:8s}\n"
_TEMPLATE_WITH_TEST = "{:20s}\t{:10s}\t{:10s}\t{:14s}\t{:14s}\t{:14s}\t{:10s}\t{:10s}\t{:8s}\t{:8s}\t{:8s}\n"
_VALID = ("valid", *ALIASES["valid"])


def finished(tables: Sequence[Group]) -> list[Group]:
    """Return the complete rows of each table that has any."""
    complete = [(conditions, [row for row in rows if row.complete]) for conditions, rows in tables]
    return [(conditions, rows) for conditions, rows in complete if rows]


def template_tables(tables: Sequence[Group], valid: str, test: str | None) -> str:
    """Return each table in the template's columns and formats under a line that says its set and conditions.

    Rows that are not complete are left out. Those of the set ``test`` stand in columns beside those of ``valid`` under
    the same conditions; without it tables are of one set each.
    """
    groups, parts = dict(finished(tables)), []
    for conditions, rows in groups.items():
        tested = groups.get(replace(conditions, dataset=test)) if test and conditions.dataset == valid else None
        if conditions.dataset != test or replace(conditions, dataset=valid) not in groups:
            title, is_the_challenges = _template_title(conditions, rows, tested), rows[0].dataset.name in _VALID
            others = None if tested is None else list(map(TemplateRow.of_record, tested))
            table = template_table(list(map(TemplateRow.of_record, rows)), others, is_the_challenges)
            parts.append(f"{title}\n{table}")
    return "\n".join(parts)


def _template_title(conditions: Conditions, rows: Sequence[Record], tested: Sequence[Record] | None) -> str:
    sets = [
        f"{visible(its[0].dataset.name)}, {counted(its[0].dataset.num_images, 'image')}"
        for its in (rows, tested)
        if its
    ]
    # The template's rows have no room for them.
    own = dict.fromkeys(its.model.full_name for its in (*rows, *(tested or ())) if its.model.own_weights)
    weights = f"; weights that the authors did not release: {', '.join(map(visible, own))}" if own else ""
    return f"# {' and '.join(sets)}; protocol {conditions.protocol}, on {visible(conditions.place)}{weights}"


@dataclass(frozen=True)
class TemplateRow:
    """What the template's table says of one model on one set; None for what was not taken."""

    label: str
    psnr_db: float | None
    runtime_ms: float | None
    num_params: float | None
    flops: float | None
    activations: float | None
    peak_memory_mib: float | None
    num_conv: int | None

    @classmethod
    def of_record(cls, record: Record) -> "TemplateRow":
        """Return a record's row."""
        figures = record.mean("psnr_db"), record.mean("runtime_ms")
        return cls(record.model.label, *figures, **record.counts, peak_memory_mib=record.peak_memory_mib)

    @property
    def costs(self) -> tuple[str, ...]:
        """The last five cells."""
        millions = (_number(self.num_params, 1e6, 3), _number(self.flops, 1e9), _number(self.activations, 1e6))
        convolutions = NONE if self.num_conv is None else f"{self.num_conv:4d}"
        return (*millions, _number(self.peak_memory_mib), convolutions)


def _number(value: float | None, scale: float = 1, decimals: int = 2) -> str:
    return NONE if value is None else f"{value / scale:.{decimals}f}"


def template_table(
    rows: Sequence[TemplateRow], tested: Sequence[TemplateRow] | None = None, is_the_challenges: bool = True
) -> str:
    """Return the table in the template's columns and formats, one row a model; with test columns if any was tested."""
    if tested is None:
        role = "Val " if is_the_challenges else ""
        form, titles = _TEMPLATE, (f"{role}PSNR", f"{role}Time [ms]")
    else:
        times = ("Val Time [ms]", "Test Time [ms]", "Ave Time [ms]")
        form, titles = _TEMPLATE_WITH_TEST, ("Val PSNR", "Test PSNR", *times)
    lines = [form.format("Model", *titles, "Params [M]", "FLOPs [G]", "Acts [M]", "Mem [M]", "Conv")]
    others = {row.label: row for row in tested or ()}
    for row in rows:
        figures = [row.psnr_db, row.runtime_ms]
        if tested is not None:
            pair = (row, others.get(row.label))
            psnrs, times = ([getattr(its, key, None) for its in pair] for key in ("psnr_db", "runtime_ms"))
            known = [ms for ms in times if ms is not None]
            figures = [*psnrs, *times, sum(known) / 2 if len(known) == 2 else None]
        lines.append(form.format(visible(row.label), *map(_number, figures), *row.costs))
    return "".join(lines)
