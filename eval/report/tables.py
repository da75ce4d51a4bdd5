"""Tables of records as files: the challenge's results.txt, CSV, and Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval.data.aliases import ALIASES
from eval.files import atomic_path
from eval.records.current import Conditions, complete_ones, current, failures, once
from eval.records.current import Table as Group
from eval.records.record import Record
from eval.records.store import RECORDS_FOLDER, read_records
from eval.report.columns import LABEL, SET, columns_of, flag_notes, legend
from eval.report.escapes import latex, markdown_text, visible
from eval.report.renderers import to_csv, to_latex, to_markdown
from eval.report.table import NONE, Figure, Table, Value

# Widths and titles of the challenge template's results.txt.
_TEMPLATE = "{:20s}\t{:10s}\t{:14s}\t{:10s}\t{:10s}\t{:8s}\t{:8s}\t{:8s}\n"
_TEMPLATE_WITH_TEST = "{:20s}\t{:10s}\t{:10s}\t{:14s}\t{:14s}\t{:14s}\t{:10s}\t{:10s}\t{:8s}\t{:8s}\t{:8s}\n"
_COUNTS = ("num_params", "flops", "activations", "num_conv")
_VALID = ("valid", *ALIASES["valid"])

# What stands before the figures in CSV.
_DESCRIBED: dict[str, Callable[[Record], Value]] = {
    "model": lambda record: visible(record.model.label),
    "dataset": lambda record: record.dataset.name,
    "num_images": lambda record: record.dataset.num_images,
    "protocol": lambda record: record.settings.protocol.value,
    "device": lambda record: record.settings.device,
    "machine": lambda record: visible(record.environment.machine),
    "engine": lambda record: record.settings.engine,
    "precision": lambda record: record.settings.precision,
    "tile": lambda record: record.settings.tile,
    "checkpoint": lambda record: record.model.checkpoint or record.model.weights_file,
    "weights_sha256": lambda record: record.model.weights_sha256,
}


def write_tables(save_dir: Path, valid: str, test: str | None) -> list[Path]:
    """Write results.txt, results.csv and leaderboard.md from the records under ``save_dir``.

    Args:
        save_dir: the folder that holds ``records/``; the tables go beside it.
        valid: the set for the validation columns of results.txt, where there is a test set.
        test: the set for its test columns; None leaves these columns out, as the template does.
    """
    records = read_records(save_dir / RECORDS_FOLDER)
    tables = current(records)
    contents = {
        "results.txt": template_tables(tables, valid, test),
        "results.csv": csv_table(once(complete_ones(tables))),
        "leaderboard.md": markdown_tables(tables) + markdown_failures(records),
    }
    return write_files(save_dir, contents)


def write_report(tables: Sequence[Group], folder: Path) -> list[Path]:
    """Write leaderboard.md, leaderboard.csv and leaderboard.tex of tables."""
    finished = _finished(tables)
    parts = [
        f"% {latex(conditions.dataset)}, {rows[0].dataset.num_images} images, {conditions.protocol}, "
        f"{latex(conditions.place)}\n{leaderboard(rows)}"
        for conditions, rows in finished
    ]
    contents = {
        "leaderboard.md": markdown_tables(tables),
        "leaderboard.csv": csv_table(once(complete_ones(tables))),
        "leaderboard.tex": "\n".join(parts),
    }
    return write_files(folder, contents)


def _finished(tables: Sequence[Group]) -> list[Group]:
    """Return the complete rows of each table that has any."""
    finished = [(conditions, [row for row in rows if row.complete]) for conditions, rows in tables]
    return [(conditions, rows) for conditions, rows in finished if rows]


def write_files(folder: Path, contents: dict[str, str]) -> list[Path]:
    """Write texts under their names into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with atomic_path(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")
    return [folder / name for name in contents]


def template_tables(tables: Sequence[Group], valid: str, test: str | None) -> str:
    """Return each table in the template's columns and formats under a line that says its set and conditions.

    Args:
        tables: those to show; rows that are not complete are left out.
        valid: the set for the validation columns, where there is a test set.
        test: the set for the test columns, beside the rows of ``valid`` under the same conditions; None for tables of
            one set each.
    """
    finished, parts = _finished(tables), []
    halves = {conditions: rows for conditions, rows in finished if conditions.dataset == test}
    for conditions, rows in finished:
        tested = halves.get(replace(conditions, dataset=test or "")) if conditions.dataset == valid else None
        if conditions.dataset != test or replace(conditions, dataset=valid) not in dict(finished):
            title, is_the_challenges = _template_title(conditions, rows, tested), rows[0].dataset.name in _VALID
            halves_rows = (its and [TemplateRow.of_record(record) for record in its] for its in (rows, tested))
            parts.append(f"{title}\n{template_table(*halves_rows, is_the_challenges)}")
    return "\n".join(parts)


def _template_title(conditions: Conditions, rows: Sequence[Record], tested: Sequence[Record] | None) -> str:
    sets = [f"{visible(its[0].dataset.name)}, {its[0].dataset.num_images} images" for its in (rows, tested) if its]
    return f"# {' and '.join(sets)}; protocol {conditions.protocol}, on {visible(conditions.place)}"


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
        counts = {key: getattr(record.complexity, key, None) for key in _COUNTS}
        figures = record.mean("psnr_db"), record.mean("runtime_ms")
        return cls(record.model.label, *figures, **counts, peak_memory_mib=record.peak_memory_mib)

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
    role = "Val " if is_the_challenges or tested else ""
    costs = ("Params [M]", "FLOPs [G]", "Acts [M]", "Mem [M]", "Conv")
    if tested is None:
        lines = [_TEMPLATE.format("Model", f"{role}PSNR", f"{role}Time [ms]", *costs)]
    else:
        times = ("Val Time [ms]", "Test Time [ms]", "Ave Time [ms]")
        lines = [_TEMPLATE_WITH_TEST.format("Model", "Val PSNR", "Test PSNR", *times, *costs)]
    others = {row.label: row for row in tested or ()}
    for row in rows:
        label, other = visible(row.label), others.get(row.label)
        psnrs, times = ([getattr(its, key, None) for its in (row, other)] for key in ("psnr_db", "runtime_ms"))
        if tested is None:
            lines.append(_TEMPLATE.format(label, _number(psnrs[0]), _number(times[0]), *row.costs))
        else:
            times.append(None if None in times else sum(times) / 2)
            lines.append(_TEMPLATE_WITH_TEST.format(label, *map(_number, psnrs), *map(_number, times), *row.costs))
    return "".join(lines)


def csv_table(records: Sequence[Record]) -> str:
    """Return one line a record, figures unrounded and in base units (``flops`` in multiply-adds)."""
    figures = columns_of(records)
    rows = [
        {key: described(record) for key, described in _DESCRIBED.items()}
        | {key: value for figure in figures for key, value in figure.csv(record).items()}
        for record in records
    ]
    keys = rows[0] if rows else (*_DESCRIBED, *(figure.key for figure in figures))
    return to_csv(Table.headed(keys, [row.values() for row in rows]))


def leaderboard(records: Sequence[Record]) -> str:
    """Return one table of records of one set, protocol and device for papers, its best figures marked."""
    return to_latex(Table.about((LABEL, *columns_of(records)), records).marked(least=2)) + "\n"


def markdown_tables(groups: Sequence[Group]) -> str:
    """Return a GitHub table for each set under each conditions, with its legend."""
    parts = ["# Results"]
    for conditions, rows in _finished(groups):
        where = f"{conditions.protocol}, {visible(conditions.place)}"
        parts.append(
            f"## {markdown_text(conditions.dataset)} ({rows[0].dataset.num_images} images, {markdown_text(where)})"
        )
        parts.append(to_markdown(Table.about((LABEL, *columns_of(rows)), rows)))
        parts.append("\n".join(f"- {markdown_text(line)}" for line in (*legend(rows), *flag_notes(rows))))
    return "\n\n".join(parts) + "\n"


def failures_table(records: Sequence[Record], *more: Figure) -> Table:
    """Return one row a record that is not complete: its state and why, and what else is asked for."""
    what = Figure("what", "What", left=True, of=lambda record: record.outcome.partition(": ")[0])
    why = Figure("why", "Why", left=True, wraps=True, of=lambda record: record.outcome.partition(": ")[2])
    return Table.about([LABEL, SET, *more, what, why], records)


def markdown_failures(records: Sequence[Record]) -> str:
    """Return a GitHub table of the models that did not run, with state and reason; empty if all did."""
    failed = failures(records)
    protocol = Figure("protocol", "Protocol", left=True, of=lambda record: record.settings.protocol.value)
    return f"\n## Did not run\n\n{to_markdown(failures_table(failed, protocol))}\n" if failed else ""
