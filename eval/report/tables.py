"""Tables of records as files: the challenge's results.txt, CSV, and Markdown."""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from tabulate import tabulate

from eval.images import atomic_path
from eval.record import Record
from eval.records import RECORDS_FOLDER, read_records
from eval.report.columns import (
    columns_of,
    flag_notes,
    latest_failures,
    legend,
    manner_of,
    newest,
    outcome,
    place_of,
    visible,
)
from eval.report.latex import latex, leaderboard

# Widths and titles of the challenge template's results.txt.
_TEMPLATE = "{:20s}\t{:10s}\t{:14s}\t{:10s}\t{:10s}\t{:8s}\t{:8s}\t{:8s}\n"
_TEMPLATE_WITH_TEST = "{:20s}\t{:10s}\t{:10s}\t{:14s}\t{:14s}\t{:14s}\t{:10s}\t{:10s}\t{:8s}\t{:8s}\t{:8s}\n"


# What stands before the figures in CSV.
_DESCRIBED: dict[str, Callable[[Record], object]] = {
    "model": lambda record: inert(visible(record.model.label)),
    "dataset": lambda record: inert(record.dataset.name),
    "num_images": lambda record: record.dataset.num_images,
    "protocol": lambda record: record.settings.protocol.value,
    "device": lambda record: record.settings.device,
    "engine": lambda record: record.settings.engine,
    "precision": lambda record: record.settings.precision,
    "tile": lambda record: record.settings.tile,
    "checkpoint": lambda record: record.model.checkpoint,
    "weights_sha256": lambda record: record.model.weights_sha256,
}


def write_tables(save_dir: Path, valid: str, test: str | None) -> list[Path]:
    """Write results.txt, results.csv and leaderboard.md from the records under ``save_dir``.

    Args:
        save_dir: the folder that holds ``records/``; the tables go beside it.
        valid: the set that fills the validation columns of results.txt.
        test: the set that fills its test columns; None leaves these columns out, as the template does.
    """
    everything = read_records(save_dir / RECORDS_FOLDER)
    records = newest(everything)
    contents = {
        "results.txt": template_table(_plain_first(records), valid, test),
        "results.csv": csv_table(records),
        "leaderboard.md": markdown_tables(records) + markdown_failures(everything),
    }
    return write_files(save_dir, contents)


def write_report(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write leaderboard.md, leaderboard.csv and leaderboard.tex of records, one table a set, protocol and device."""
    parts = [
        f"% {latex(dataset)}, {rows[0].dataset.num_images} images, {protocol}, {device}\n{leaderboard(rows)}"
        for (dataset, protocol, device), rows in tables_of(records)
    ]
    contents = {
        "leaderboard.md": markdown_tables(records),
        "leaderboard.csv": csv_table(records),
        "leaderboard.tex": "\n".join(parts),
    }
    return write_files(folder, contents)


def write_files(folder: Path, contents: dict[str, str]) -> list[Path]:
    """Write texts under their names into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with atomic_path(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")
    return [folder / name for name in contents]


def template_table(records: Sequence[Record], valid: str, test: str | None) -> str:
    """Return the table in the template's columns and formats, one row a model that ran on ``valid``."""
    by_set = {name: _by_label(records, name) for name in (valid, test)}
    if test is None:
        titles = ("Model", "Val PSNR", "Val Time [ms]", "Params [M]", "FLOPs [G]", "Acts [M]", "Mem [M]", "Conv")
        lines = [_TEMPLATE.format(*titles)]
    else:
        titles = ("Model", "Val PSNR", "Test PSNR", "Val Time [ms]", "Test Time [ms]", "Ave Time [ms]")
        titles += ("Params [M]", "FLOPs [G]", "Acts [M]", "Mem [M]", "Conv")
        lines = [_TEMPLATE_WITH_TEST.format(*titles)]
    for label, record in by_set[valid].items():
        tested = by_set[test].get(label) if test else None
        costs = _complexity_cells(record)
        if test is None:
            lines.append(_TEMPLATE.format(label, _number(record.mean("psnr_db")), _time(record), *costs))
        else:
            psnrs = (_number(record.mean("psnr_db")), _number(tested and tested.mean("psnr_db")))
            times = (_time(record), _time(tested), _number(_average_time(record, tested)))
            lines.append(_TEMPLATE_WITH_TEST.format(label, *psnrs, *times, *costs))
    return "".join(lines)


def _plain_first(records: Sequence[Record]) -> list[Record]:
    """Leave out models in half precision or by other engines where there is plain torch's record on the same set."""
    plain = {(record.model.label, record.dataset.name) for record in records if not manner_of(record)}
    return [r for r in records if not manner_of(r) or (r.model.label, r.dataset.name) not in plain]


def _by_label(records: Sequence[Record], dataset: str | None) -> dict[str, Record]:
    """Return the records of a set by model; of several protocols, one with a runtime."""
    of_set = [record for record in records if record.dataset.name == dataset]
    timed = [record for record in of_set if record.mean("runtime_ms") is not None]
    return {record.model.label: record for record in (*of_set, *timed)}


def _complexity_cells(record: Record) -> tuple[str, ...]:
    formats = {
        "num_params": (1e6, "2.3f"),
        "flops": (1e9, "2.2f"),
        "activations": (1e6, "2.2f"),
        "num_conv": (1, "4.0f"),
    }
    cells = []
    for key, (unit, form) in formats.items():
        count = getattr(record.complexity, key, None)
        cells.append("-" if count is None else f"{count / unit:{form}}")
    return (*cells[:3], _number(record.peak_memory_mib), cells[3])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:2.2f}"


def _time(record: Record | None) -> str:
    return _number(record and record.mean("runtime_ms"))


def _average_time(valid: Record, test: Record | None) -> float | None:
    times = [record and record.mean("runtime_ms") for record in (valid, test)]
    return None if None in times else sum(times) / 2


def csv_table(records: Sequence[Record]) -> str:
    """Return one line a record, figures unrounded and in base units (``flops`` in multiply-adds)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = columns_of(records)
    figures = [{key: figure for column in columns for key, figure in column.figures(row).items()} for row in records]
    writer.writerow([*_DESCRIBED, *(figures[0] if figures else (column.key for column in columns))])
    for record, row in zip(records, figures, strict=True):
        writer.writerow([*(described(record) for described in _DESCRIBED.values()), *row.values()])
    return buffer.getvalue()


def inert(cell: str) -> str:
    """Keep a spreadsheet from running a name as a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def markdown_tables(records: Sequence[Record]) -> str:
    """Return a GitHub table for each set, protocol and device, with its legend."""
    parts = ["# Results"]
    for (dataset, protocol, device), rows in tables_of(records):
        parts.append(f"## {markdown_text(dataset)} ({rows[0].dataset.num_images} images, {protocol}, {device})")
        columns = columns_of(rows)
        headers = ["Model", *(column.heading for column in columns)]
        cells = [[markdown_text(visible(row.model.label)), *(column.text(row) for column in columns)] for row in rows]
        aligned = ("left", *["right"] * len(columns))
        parts.append(tabulate(cells, headers, tablefmt="pipe", disable_numparse=True, colalign=aligned))
        parts.append("\n".join(f"- {markdown_text(line)}" for line in (*legend(rows), *flag_notes(rows))))
    return "\n\n".join(parts) + "\n"


def markdown_failures(records: Sequence[Record]) -> str:
    """Return a GitHub table of the models that did not run, with state and reason; empty if all did."""
    rows = []
    for record in latest_failures(records):
        what, _, why = outcome(record).partition(": ")
        cells = (visible(record.model.label), record.dataset.name, record.settings.protocol.value, what, why)
        rows.append([markdown_text(cell) for cell in cells])
    headers = ("Model", "Set", "Protocol", "What", "Why")
    return f"\n## Did not run\n\n{tabulate(rows, headers, tablefmt='pipe', disable_numparse=True)}\n" if rows else ""


def tables_of(records: Sequence[Record]) -> list[tuple[tuple[str, str, str], list[Record]]]:
    """Return the records by set, protocol, and device with manner: different ones are never in one table."""

    def key(record: Record) -> tuple[str, str, str]:
        return record.dataset.name, record.settings.protocol.value, place_of(record)

    return [(place, list(group)) for place, group in groupby(sorted(records, key=key), key=key)]


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML would read as markup."""
    return "".join(f"\\{char}" if char in r"\`*_{}[]<>#|" else char for char in text)
