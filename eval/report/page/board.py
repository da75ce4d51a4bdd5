"""One table of the page: headings with their explanations, rows with printed and unrounded figures, warnings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from eval.ranking.editions import Edition
from eval.records.current import Conditions
from eval.records.record import ZOO, Record
from eval.report.columns import Column, columns_of, legend, visible
from eval.report.page.explanations import COLUMN_HELP, FLAG_TITLES, flag_help
from eval.report.page.ranking import Ranked, rank_rows
from eval.report.page.selection import RAN, baseline_of, edition_of, state_of
from eval.report.score import rank_text
from eval.report.score_notes import UNITS, total_text

BELOW_GATE = "below the gate"
_LISTED_AT_MOST = 12
TEXT_HEADINGS = (("team", "Team"), ("edition", "Edition"), ("state", "State"))
HIDDEN_AT_FIRST = frozenset({"p90_ms", "ratio", "flops_by_hooks", "num_conv", "edition"})


@dataclass(frozen=True)
class Heading:
    """One column of the leaderboard; ``lower_is_better`` is None where a figure only describes."""

    key: str
    title: str
    unit: str = ""
    help: str = ""
    numeric: bool = True
    shown: bool = True
    lower_is_better: bool | None = None


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval, and where they lie between 0 and 100 across the column."""

    low: float
    high: float
    places: tuple[float, float, float]
    text: str


@dataclass(frozen=True)
class Cell:
    """One figure: as printed, unrounded in base units (None if not taken), and its interval if it has one."""

    key: str
    text: str
    value: float | str | None = None
    interval: Interval | None = None
    mark: str = ""

    @property
    def sorted_by(self) -> float | str | None:
        """The value as scripts read it: they call infinity by its whole name."""
        return "Infinity" if self.value == math.inf else self.value


@dataclass(frozen=True)
class FlagNote:
    """A flag as the page shows it."""

    title: str
    text: str
    help: str


@dataclass(frozen=True)
class Row:
    """One model in a table; ``reason`` says why it failed, or what keeps it out of the ranking."""

    record: Record
    label: str
    state: str
    reason: str
    flags: tuple[FlagNote, ...]
    cells: tuple[Cell, ...]

    def cell(self, key: str) -> Cell | None:
        """Return the cell of a column."""
        return next((cell for cell in self.cells if cell.key == key), None)


@dataclass(frozen=True)
class Board:
    """A table of the page and what is needed to read it.

    Attributes:
        baseline: place of the row that others are compared with; None if no row has figures.
    """

    conditions: Conditions
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    baseline: int | None
    ranked: Ranked
    legend: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def records(self) -> list[Record]:
        """The record of each row."""
        return [row.record for row in self.rows]


def make_board(
    conditions: Conditions, records: Sequence[Record], edition: Edition | None = None, others: Sequence[Record] = ()
) -> Board:
    """Make the table of records that share their conditions.

    Args:
        conditions: what the records share.
        records: one a model.
        edition: whose scores and ranks are shown; None for the newest one that fits.
        others: records of other sets under the same conditions; see ``rank_rows``.
    """
    ranked = rank_rows(records, edition, others)
    columns = [column for column in columns_of(records) if any(column.value(record) is not None for record in records)]
    cells = [list(cells) for cells in zip(*(_column_cells(column, records) for column in columns), strict=True)]
    cells = cells or [[] for _ in records]
    headings = [Heading("label", "Model", numeric=False), *_rank_headings(ranked), *map(_heading, columns)]
    headings += [Heading(key, title, numeric=False, shown=key not in HIDDEN_AT_FIRST) for key, title in TEXT_HEADINGS]
    rows = [_row(record, figures, ranked) for record, figures in zip(records, cells, strict=True)]
    baseline = baseline_of(records, ranked.baseline)
    return Board(
        conditions, tuple(headings), tuple(rows), baseline, ranked, tuple(legend(records)), tuple(_warnings(rows))
    )


def _heading(column: Column) -> Heading:
    lower = None if column.higher_is_better is None else not column.higher_is_better
    shown = column.key not in HIDDEN_AT_FIRST
    return Heading(column.key, column.title, column.unit, COLUMN_HELP.get(column.key, ""), True, shown, lower)


def _rank_headings(ranked: Ranked) -> list[Heading]:
    if not ranked.rows:
        return []
    headings = [Heading("rank", "Rank", help=COLUMN_HELP["rank"], lower_is_better=True)]
    if ranked.edition.has_scores:
        headings.append(Heading("score", "Score", help=COLUMN_HELP["score"], lower_is_better=True))
    return headings


def _column_cells(column: Column, records: Sequence[Record]) -> list[Cell]:
    """Return a column's cells, the best and the second figure marked, runtimes with their intervals."""
    figures = [next(iter(column.figures(record).values())) for record in records]
    complete = {figure for figure, record in zip(figures, records, strict=True) if record.complete}
    taken = sorted(complete - {None}, reverse=bool(column.higher_is_better))
    judged = column.higher_is_better is not None and len(taken) > 2
    marks = dict(zip(taken, ("best", "second"), strict=False)) if judged else {}
    spans = runtime_intervals(records) if column.key == "runtime_ms" else [None] * len(records)
    return [
        Cell(column.key, column.text(record), figure, span, marks.get(figure, "") if record.complete else "")
        for record, figure, span in zip(records, figures, spans, strict=True)
    ]


def runtime_intervals(records: Sequence[Record]) -> list[Interval | None]:
    """Return each runtime's interval in ms: its ratio's, at the baseline's runtime as it was measured."""
    bounds = []
    for record in records:
        ratio, runtime = record.timing and record.timing.ratio, record.mean("runtime_ms")
        known = ratio and runtime and math.isfinite(ratio.high)
        bounds.append((runtime * ratio.low / ratio.estimate, runtime * ratio.high / ratio.estimate) if known else None)
    ends = [end for bound in bounds if bound for end in bound]
    if not ends:
        return [None] * len(records)
    least, width = min(ends), max(ends) - min(ends) or 1.0
    spans: list[Interval | None] = []
    for record, bound in zip(records, bounds, strict=True):
        if bound is None:
            spans.append(None)
            continue
        ends = (bound[0], record.mean("runtime_ms"), bound[1])
        places = tuple(round(100 * (ms - least) / width, 2) for ms in ends)
        spans.append(Interval(*bound, places, f"{bound[0]:.2f} to {bound[1]:.2f} ms"))
    return spans


def _row(record: Record, figures: Sequence[Cell], ranked: Ranked) -> Row:
    judged = ranked.rows.get(record.model.label)
    state, reason = state_of(record), record.reason or ""
    if record.complete and judged and judged.failed:
        state = BELOW_GATE
        reason = "; ".join(f"{its.psnr_db:.4f} dB on {its.role}, least {its.least_db:.2f}" for its in judged.failed)
    elif record.complete and judged and judged.lacking:
        reason = f"not ranked: not measured: {', '.join(UNITS[metric][0] for metric in judged.lacking)}"
    texts = {"team": record.model.team, "edition": edition_of(record), "state": state}
    ranks = _rank_cells(record, ranked)
    described = [Cell(key, visible(text), visible(text)) for key, text in texts.items()]
    notes = tuple(FlagNote(FLAG_TITLES.get(flag.code, flag.code), flag.text, flag_help(flag)) for flag in record.flags)
    return Row(record, visible(record.model.label), state, visible(reason), notes, (*ranks, *figures, *described))


def _rank_cells(record: Record, ranked: Ranked) -> list[Cell]:
    if not ranked.rows:
        return []
    judged = ranked.rows.get(record.model.label) if record.complete else None
    place = judged and judged.places.get(ranked.edition.main.name)
    interval = place and place.interval
    middle = fmean(interval) if interval else place and place.rank
    cells = [Cell("rank", rank_text(place), middle)]
    if ranked.edition.has_scores:
        total = place and place.total
        cells.append(Cell("score", total_text(total), total))
    return cells


def _warnings(rows: Sequence[Row]) -> list[str]:
    """Return what a reader must know before the figures."""
    lines = [
        f"{state[0].upper()}{state[1:]}: {_listing([row.label for row in rows if row.state == state])}."
        for state in dict.fromkeys(row.state for row in rows if row.state != RAN)
    ]
    flagged = [f"{row.label} ({', '.join(note.title for note in row.flags)})" for row in rows if row.flags]
    if flagged:
        lines.append(f"Figures that do not show everything: {_listing(flagged)}.")
    tilings = {(row.record.settings.tile, row.record.settings.tile_overlap) for row in rows}
    if len(tilings) > 1:
        lines.append("Models ran on tiles of different sizes; runtimes and PSNR differ by that too.")
    images = {tuple(image.name for image in row.record.images) for row in rows if row.record.complete}
    if len(images) > 1:
        lines.append("Models ran on different images of this set; means are not over the same images.")
    unknown = sorted(row.label for row in rows if _has_unknown_weights(row.record))
    if unknown:
        lines.append(f"Weights that the manifest does not know: {_listing(unknown)}.")
    return lines


def _has_unknown_weights(record: Record) -> bool:
    model = record.model
    return model.origin == ZOO and bool(model.weights_file) and not model.checkpoint


def _listing(items: Sequence[str]) -> str:
    """Return items as a list in a sentence, a long one cut short."""
    more = len(items) - _LISTED_AT_MOST
    return ", ".join(items) if more <= 1 else f"{', '.join(items[:_LISTED_AT_MOST])} and {more} more"
