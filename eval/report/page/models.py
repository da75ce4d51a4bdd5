"""One view a model: everything that its records and the manifest say of it."""

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from markupsafe import Markup

from eval.metrics.registry import METRICS
from eval.records.record import Record
from eval.report.board import Board, Row
from eval.report.page.facts import environment_facts
from eval.report.renderers import to_html
from eval.report.selection import spec_of
from eval.report.table import Figure, Table
from eval.timing.samples import what_disturbed
from eval.zoo.model_info import ZOO

_HARDEST = 10
_PSNR = METRICS["psnr"]
_IMAGE_FIGURES = (
    Figure("image", "Image", left=True, of=lambda image: image.name),
    Figure("size", "LR pixels", of=lambda image: f"{image.lr_width}x{image.lr_height}"),
    Figure(_PSNR.key, _PSNR.title, _PSNR.unit, _PSNR.decimals, of=lambda image: image.psnr_db),
)


def model_views(boards: Sequence[Board], addresses: dict[str, str]) -> list[dict[str, Any]]:
    """Return what each model's page shows: with its row of every table, as ``runs``."""
    views = []
    for label, address in addresses.items():
        runs = [_run(board, row) for board in boards for row in board.rows if row.label == label]
        record = runs[0]["row"].record
        spec = spec_of(record)
        view = {"address": address, "label": label, "note": spec.note if spec else ""}
        views.append(view | {"provenance": _provenance(record), "runs": runs})
    return views


def _run(board: Board, row: Row) -> dict[str, Any]:
    """Return one record of a model: its figures as the table prints them, and where they were taken."""
    rules = f" ({board.ranked.edition.year})" if board.ranked.edition else ""
    told = {its.key: replace(its, title=its.title + rules * (its.key in ("rank", "score"))) for its in board.headings}
    return {
        "title": board.conditions.title,
        "row": row,
        "figures": [(its, row.cells[key].text) for key, its in told.items() if key in row.cells],
        "environment": environment_facts(row.record),
        "timing": _timing_facts(row.record),
        "complexity": _complexity_facts(row.record),
        "hardest": _hardest(row.record),
    }


def _hardest(record: Record) -> Markup:
    """Return a table of the images with the lowest PSNR; nothing where there is none."""
    hardest = sorted((its for its in record.images if its.psnr_db is not None), key=attrgetter("psnr_db"))
    return Markup(to_html(Table.about(_IMAGE_FIGURES, hardest[:_HARDEST]), "small") if hardest else "")


def _provenance(record: Record) -> list[tuple[str, str]]:
    model, spec = record.model, spec_of(record)
    facts = [("From", "the zoo" if model.origin == ZOO else model.origin), ("Team", model.team)]
    addresses: dict[str | None, str | None] = {its.sha256: its.url for its in spec.checkpoints} if spec else {}
    if spec:
        facts += [("Edition", spec.edition), ("Licence", spec.license), ("Paper", spec.paper)]
    facts += [
        ("Weights", model.checkpoint or (model.weights_file and "not in the manifest") or "none needed"),
        ("Weights SHA-256", model.weights_sha256),
        ("Weights from", addresses.get(model.weights_sha256)),
        ("Source SHA-256", model.source_sha256),
        ("Data range", f"[0, {model.data_range:g}]" if model.data_range else ""),
        ("Changed to run here", ", ".join(model.shims)),
    ]
    return [(name, str(value)) for name, value in facts if value]


def _timing_facts(record: Record) -> list[tuple[str, str]]:
    timing = record.timing
    if timing is None:
        return []
    kept = sum(sample is not None for row in timing.samples_ms for sample in row)
    dropped = what_disturbed(timing.dropped) or "none"
    facts = [
        ("Preset", f"{timing.preset}, ended by {timing.stopped_by}"),
        ("Samples", f"{kept} kept of {len(timing.samples_ms)} images; dropped: {dropped}"),
        ("Cold start", f"{timing.cold_start_ms:.1f} ms"),
        ("Warm-up", f"{timing.warmup_ms:.0f} ms, {timing.warmup_runs} runs"),
    ]
    if timing.energy_mj is not None:
        facts.append(("Energy", f"{timing.energy_mj:.1f} mJ an image, indicative"))
    return facts


def _giga(flops: int | None) -> str:
    return "not counted" if flops is None else f"{flops / 1e9:.3f} G"


def _complexity_facts(record: Record) -> list[tuple[str, str]]:
    its = record.complexity
    if its is None:
        return []
    uncounted = ", ".join(f"{name} x{count}" for name, count in its.uncounted_ops.items())
    apart = [("FLOPs of its graph, without its code", _giga(its.flops_apart))] if its.flops_apart is not None else []
    by_hooks = [("FLOPs by the counter of 2022", _giga(its.flops_by_hooks))] if its.flops_by_hooks else []
    return [
        ("Counted at", f"3x{its.input_side}x{its.input_side}"),
        ("FLOPs by fvcore", _giga(its.flops)),
        ("FLOPs by torch's dispatcher", _giga(its.flops_by_dispatcher)),
        *apart,
        ("Parameters times pixels", _giga(its.flops_bound)),
        *by_hooks,
        *((f"FLOPs of {name}", _share(count, its.flops)) for name, count in sorted(its.flops_by_operator.items())),
        ("Operators without a rule", uncounted or "none"),
        ("Of them suspect", ", ".join(its.suspect_ops) or "none"),
    ]


def _share(count: int, total: int | None) -> str:
    return f"{count / 1e9:.2f} G, {100 * count / total:.1f}%" if total else f"{count / 1e9:.2f} G"
