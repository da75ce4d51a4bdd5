"""The table of a checkout: every entry's fidelity, runtime, complexity, and what became of those that did not run.

    python -m bench.checkouts RECORDS… --title "…" --out docs/results/checkout-2024.md

It is made from records of `python -m eval run --checkout …`, by the accuracy protocol on several sets and by the steady
protocol on one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate

from eval.cli.program import run_program
from eval.files import atomic_path
from eval.records.current import complete_ones, current
from eval.records.record import Record
from eval.records.store import find_records
from eval.report.columns import legend
from eval.report.escapes import markdown_text
from eval.report.tables import markdown_failures


def make(
    records: Annotated[list[Path], typer.Argument(help="Folders of records.")],
    title: Annotated[str, typer.Option("--title", help="Heading.")],
    out: Annotated[Path, typer.Option("--out", help="Markdown file.")],
    note: Annotated[str, typer.Option("--note", help="How it was measured.")] = "",
) -> None:
    """Write the table."""
    found = find_records(records)
    with atomic_path(out) as partial:
        partial.write_text("\n\n".join(_parts(found, title, note)) + "\n", encoding="utf-8")
    typer.echo(f"written: {out}")


def _parts(found: Sequence[Record], title: str, note: str) -> list[str]:
    complete = complete_ones(current(found))
    sets = sorted({record.dataset.name for record in complete})
    timed = {record.model.label: record for record in complete if record.timing}
    models = list(dict.fromkeys(record.model.label for record in complete))
    by_age = sorted(complete, key=lambda record: record.started_at)
    rows = [_row([record for record in by_age if record.model.label == label], sets) for label in models]
    ran = sum(record.model.origin != "zoo" for record in {record.model.label: record for record in complete}.values())
    failed = {record.model.label for record in found if not record.complete} - set(models)
    headings = ["Entry", *(f"PSNR {name} [dB]" for name in sets), "Time [ms]", "Ratio [x]", "Params [M]", "FLOPs [G]"]
    by_hooks = any(record.complexity and record.complexity.flops_by_hooks for record in complete)
    headings += [*(["FLOPs '22 [G]"] if by_hooks else []), "Acts [M]", "Conv", "Flags"]
    rows = [row if by_hooks else [*row[:-4], *row[-3:]] for row in rows]
    table = tabulate(rows, headings, tablefmt="pipe", disable_numparse=True)
    lines = [f"- {markdown_text(line)}" for line in dict.fromkeys(legend([*complete, *timed.values()]))]
    parts = [f"# {title}", f"{ran} of {ran + len(failed)} entries ran. {note}".strip(), table, "\n".join(lines)]
    return [*parts, markdown_failures(_once(found)).strip(), _flags(complete)]


def _row(records: Sequence[Record], sets: Sequence[str]) -> list[str]:
    """Return the cells of one model; FLOPs by hooks stand fourth from the end."""
    accuracy = {record.dataset.name: record for record in records}
    timed = next((record for record in records if record.timing), None)
    ratio = timed and timed.timing.ratio
    complexity = next((record.complexity for record in reversed(records) if record.complexity), None)
    psnrs = [f"{accuracy[name].mean('psnr_db'):.3f}" if name in accuracy else "-" for name in sets]
    time = "-" if timed is None or timed.mean("runtime_ms") is None else f"{timed.mean('runtime_ms'):.1f}"
    times = [time, f"{ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" if ratio else "-"]
    counts = ["-"] * 5
    if complexity:
        counts = [f"{complexity.num_params / 1e6:.3f}", _giga(complexity.flops), _giga(complexity.flops_by_hooks)]
        counts += ["-" if complexity.activations is None else f"{complexity.activations / 1e6:.2f}"]
        counts += ["-" if complexity.num_conv is None else str(complexity.num_conv)]
    codes = ", ".join(dict.fromkeys(flag.code for record in records for flag in record.flags))
    return [markdown_text(records[0].model.label), *psnrs, *times, *counts, codes]


def _giga(flops: int | None) -> str:
    return "-" if flops is None else f"{flops / 1e9:.2f}"


def _once(records: Sequence[Record]) -> list[Record]:
    """Return the records with one of each model that failed: it fails on every set alike."""
    return list({(record.model.label, record.complete and record.dataset.name): record for record in records}.values())


def _flags(records: Sequence[Record]) -> str:
    texts = dict.fromkeys(f"{record.model.label}: {flag.text}" for record in records for flag in record.flags)
    return "\n".join(["## Flags", "", *(f"- {markdown_text(text)}" for text in texts)]) if texts else ""


if __name__ == "__main__":
    run_program(make)
