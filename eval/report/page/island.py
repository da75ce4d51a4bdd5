"""The page's data as JSON inside HTML: what plots and comparisons need, figures unrounded but for their last digits."""

import json
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from eval.report.board import Board, Row
from eval.report.escapes import inert, latex, markdown_text
from eval.report.page.gallery import set_of
from eval.report.selection import RAN, spec_of
from eval.words import written_out

_DIGITS = 6
_PLOTTED = ("psnr_db", "runtime_ms", "num_params", "flops", "activations", "peak_memory_mib")


def island(data: object) -> Markup:
    """Return JSON that can stand inside ``<script>``: nothing in it can end the element, or turn a line of text."""
    text = json.dumps(_written_out(data), allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _written_out(data: Any) -> Any:
    if isinstance(data, dict):
        return {_written_out(key): _written_out(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_written_out(value) for value in data]
    return written_out(data) if isinstance(data, str) else data


def board_data(board: Board) -> dict:
    """Return a table's data: its images once, and by row what was taken of each."""
    names = list(dict.fromkeys(image.name for record in board.records for image in record.images))
    sizes = {image.name: image.lr_height * image.lr_width for record in board.records for image in record.images}
    return {
        "title": board.conditions.title,
        "pictures": set_of(board.conditions),
        "timed": any(row.record.mean("runtime_ms") is not None for row in board.rows),
        "editions": [_edition_data(each) for each in (board, *board.others)],
        "images": names,
        "lr_pixels": [sizes[name] for name in names],
        "rows": [_row_data(row, names) for row in board.rows],
    }


def escaped_texts(boards: Sequence[Board]) -> dict[str, dict[str, str]]:
    """Return how each text of the tables is copied, by form; without those that no form changes."""
    ruled = [each for board in boards for each in (board, *board.others)]
    texts = {its.heading for each in ruled for its in each.headings}
    # Figures are copied as figures.
    words = {its.key for each in ruled for its in each.headings if its.left}
    for row in (row for each in ruled for row in each.rows):
        texts |= {row.name, *(cell.text for key, cell in row.cells.items() if key in words)}
    forms = {text: {"Markdown": markdown_text(text), "LaTeX": latex(text), "CSV": inert(text)} for text in texts}
    return {text: its for text, its in sorted(forms.items()) if {*its.values()} != {text}}


def _edition_data(board: Board) -> dict:
    """Return what of a table depends on an edition's rules."""
    return {
        "baseline": board.baseline,
        "claim": board.headline.claim,
        "details": board.headline.details,
        "warnings": board.warnings,
        "notes": board.ranked.notes,
        "gates": [[gate.psnr_db, gate.least] for gate in board.ranked.gates],
        "rows": [_row_by_edition(row) for row in board.rows],
    }


def _row_by_edition(row: Row) -> dict:
    interval = row.intervals["psnr_db"]
    cells = {key: [row.cell(key).text, row.cell(key).sorted_by] for key in ("rank", "score", "state")}
    psnr = [*interval.places, interval.text, interval.tied] if interval else None
    return {"reason": row.reason, "out": row.state != RAN, "cells": cells, "psnr": psnr}


def _row_data(row: Row, names: Sequence[str]) -> dict:
    by_name = {image.name: image for image in row.record.images}
    timing, spec = row.record.timing, spec_of(row.record)
    runtimes = (timing and timing.medians_ms()) or {name: image.runtime_ms for name, image in by_name.items()}
    interval = row.intervals["runtime_ms"]
    figures = {key: _finite(row.figure(key)) for key in _PLOTTED if key in row.cells}
    return {
        "label": row.label,
        "own": bool(spec and spec.own),
        "complete": row.record.complete,
        **figures,
        "interval_ms": [_finite(interval.low), _finite(interval.high)] if interval else None,
        "texts": {key: cell.text for key, cell in row.cells.items()},
        "psnrs_db": [_finite(by_name[name].psnr_db) if name in by_name else None for name in names],
        "runtimes_ms": [_finite(runtimes.get(name)) for name in names],
    }


def _finite(value: float | None) -> float | None:
    """Return a figure that JSON can hold, with as many digits as a plot can show."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
