"""A table with all that is needed to read it: explained headings, ranks, marks, intervals, warnings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.ranking.editions import Edition
from eval.ranking.gates import psnr_decimals
from eval.ranking.scoring import Place
from eval.records.conditions import Conditions
from eval.records.current import Group
from eval.records.record import Record
from eval.report.board_intervals import Interval, psnr_intervals, runtime_intervals
from eval.report.columns import filled_columns, legend
from eval.report.explanations import flag_words
from eval.report.headline import Headline, headline
from eval.report.ranked import Ranked, editions_with_baseline, rank_rows
from eval.report.score import rank_text
from eval.report.score_notes import FIGURES
from eval.report.selection import RAN, baseline_of, edition_of, links_of, state_of
from eval.report.table import NONE, Cell, Column, Table, number
from eval.words import first_of, visible
from eval.zoo.model_info import ZOO

_LISTED = 12
HIDDEN_AT_FIRST = frozenset({"p90_ms", "ratio", "flops_by_hooks", "num_conv", "peak_memory_mib"})
# A mark says something where more figures differ than have one.
_LEAST_MARKED = 3


@dataclass(frozen=True)
class FlagNote:
    """A flag as the page shows it."""

    title: str
    help: str
    text: str


@dataclass(frozen=True)
class Row:
    """One model in a table.

    Attributes:
        reason: why it failed, or what keeps it out of the ranking.
        intervals: those of its figures, by column; of a figure without one there is none.
        links: where its paper and code are, by what they are.
    """

    record: Record
    label: str
    state: str
    reason: str
    flags: tuple[FlagNote, ...]
    cells: Mapping[str, Cell]
    intervals: Mapping[str, Interval | None]
    links: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What leaves the page calls it: the label, and the weights where they are not the released ones."""
        return visible(self.record.model.full_name)

    def cell(self, key: str) -> Cell:
        """Return the cell of a column; an empty one where the row has none."""
        return self.cells.get(key, Cell(NONE))

    def figure(self, key: str) -> float | None:
        """Return the unrounded figure of a column; None if it was not taken."""
        value = self.cell(key).value
        return None if isinstance(value, str) else value


@dataclass(frozen=True)
class Board:
    """A table and what is needed to read it.

    Attributes:
        baseline: place of the row that others are compared with; None if no row has figures.
        others: the same table by the rules of other editions whose baselines are in it.
    """

    conditions: Conditions
    headings: tuple[Column, ...]
    rows: tuple[Row, ...]
    baseline: int | None
    ranked: Ranked
    legend: tuple[str, ...]
    warnings: tuple[str, ...]
    headline: Headline
    others: tuple["Board", ...] = ()

    @property
    def records(self) -> list[Record]:
        """The record of each row."""
        return [row.record for row in self.rows]

    @property
    def table(self) -> Group:
        """The records with what they share."""
        return self.conditions, self.records


def headlines_of(boards: Iterable[Board]) -> dict[Conditions, Headline]:
    """Return the headline of each table."""
    return {board.conditions: board.headline for board in boards}


def make_boards(groups: Sequence[Group], edition: Edition | None = None, with_others: bool = True) -> tuple[Board, ...]:
    """Make the table of each group of records, those of ``current``, by each edition that fits; see ``make_board``.

    Without the ``others``, editions are tried until one ranks, which is the first with them, too.
    """
    boards = []
    for conditions, rows in groups:
        alike, made = _made_alike(conditions, groups), []
        for its in [edition] if edition else editions_with_baseline(rows) or [None]:
            made.append(make_board(conditions, rows, its, alike))
            if made[-1].ranked.rows and not with_others:
                break
        # An edition whose baseline lacks a figure, such as its time, ranks nothing: one that ranks comes before it.
        first, *others = sorted(made, key=lambda its: not its.ranked.rows)
        # Where another edition has a gate that a row misses, the state needs its column under all of them.
        states = {its for each in others for its in each.headings if its.key == "state"} - {*first.headings}
        boards.append(replace(first, headings=(*first.headings, *states), others=tuple(others)))
    return tuple(boards)


def _made_alike(conditions: Conditions, groups: Sequence[Group]) -> list[Record]:
    """Return the records of other sets under the same conditions."""
    others = ((replace(its, dataset=conditions.dataset), rows) for its, rows in groups if its != conditions)
    return [record for its, rows in others if its == conditions for record in rows]


def make_board(
    conditions: Conditions, records: Sequence[Record], edition: Edition | None = None, others: Sequence[Record] = ()
) -> Board:
    """Make the table of records that share their conditions, one a model; by None, the newest edition that fits ranks.

    ``others`` are records of other sets under the same conditions; see ``rank_rows``.
    """
    ranked = rank_rows(records, edition, others)
    baseline = baseline_of(records, ranked.baseline)
    columns = [
        # So a PSNR shows on which side of a gate it lies.
        replace(its, decimals=psnr_decimals(ranked.gates)) if its.key == "psnr_db" else its
        for its in filled_columns(records)
    ]
    judged = [record.complete and record.model.is_network for record in records]
    table = Table.about(columns, records).marked(_LEAST_MARKED, judged)
    intervals = {"runtime_ms": runtime_intervals(records), "psnr_db": psnr_intervals(records, baseline)}
    rows = []
    for place, (record, cells) in enumerate(zip(records, table.rows, strict=True)):
        figures = {its.key: cell for its, cell in zip(columns, cells, strict=True)}
        rows.append(_row(record, figures, {key: its[place] for key, its in intervals.items()}, ranked))
    headings, said = _headings(ranked, columns, rows), headline(records, ranked, baseline)
    notes = tuple(legend(records)), tuple(_warnings(rows))
    return Board(conditions, headings, tuple(rows), baseline, ranked, *notes, said)


def _headings(ranked: Ranked, columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return the headings; a state is told where a row has another one than that it ran."""
    all_ran = all(row.state == RAN for row in rows)
    described = ("Team", "Edition") if all_ran else ("Team", "Edition", "State")
    texts = [Column(title.lower(), title, left=True) for title in described]
    return Column("label", "Model", left=True), *_rank_headings(ranked), *columns, *texts


def _rank_headings(ranked: Ranked) -> list[Column]:
    if not ranked.rows or not ranked.edition:
        return []
    unit = "95%" if any(place.interval for place in ranked.places.values()) else ""
    rank = Column("rank", "Rank", unit, higher_is_better=False)
    score = Column("score", "Score", higher_is_better=False)
    return [rank, score] if ranked.edition.has_scores else [rank]


def _row(record: Record, figures: Mapping[str, Cell], intervals: Mapping[str, Interval | None], ranked: Ranked) -> Row:
    judged = ranked.rows.get(record.model.label)
    state, reason = state_of(record), record.reason or ""
    if record.complete and judged and judged.failed:
        state = "below the gate"
        reason = "; ".join(f"{its.psnr} dB on {its.role}, least {its.least}" for its in judged.failed)
    elif record.complete and record.model.label == ranked.baseline and ranked.rows:
        reason = "baseline, not ranked"
    elif record.complete and judged and judged.lacking:
        reason = f"not ranked: not measured: {', '.join(FIGURES[metric].title for metric in judged.lacking)}"
    texts = {"team": record.model.team, "edition": edition_of(record), "state": state}
    described = {key: Cell(visible(text), visible(text)) for key, text in texts.items()}
    notes = tuple(FlagNote(*flag_words(flag), flag.text) for flag in record.flags)
    cells = {**_rank_cells(record, ranked), **figures, **described}
    label = visible(record.model.label)
    return Row(record, label, state, visible(reason), notes, cells, intervals, links_of(record))


def _rank_cells(record: Record, ranked: Ranked) -> dict[str, Cell]:
    if not ranked.rows or not ranked.edition:
        return {}
    place = ranked.places.get(record.model.label) if record.complete else None
    # In the order of the totals, as `score` has it, also where intervals leave it open.
    stands = place and (place.rank or _between_ranks(place, ranked))
    total = place and place.total
    cells = {"rank": Cell(rank_text(place), stands), "score": Cell(number(total), total)}
    return cells if ranked.edition.has_scores else {"rank": cells["rank"]}


def _between_ranks(baseline: Place, ranked: Ranked) -> float | None:
    """Return where the baseline, which has no rank, stands by its score among those that have one."""
    if baseline.total is None:
        return None
    totals = [its.total for its in ranked.places.values() if its.rank and its.total is not None]
    return 0.5 + sum(total < baseline.total for total in totals)


def _warnings(rows: Sequence[Row]) -> list[str]:
    """Return what a reader must know before the figures."""
    lines = [
        f"{state[0].upper()}{state[1:]}: {first_of([row.label for row in rows if row.state == state], _LISTED)}."
        for state in dict.fromkeys(row.state for row in rows if row.state != RAN)
    ]
    flagged = [f"{row.label} ({', '.join(note.title for note in row.flags)})" for row in rows if row.flags]
    if flagged:
        lines.append(f"Models with flags, whose figures may mislead (see the rows): {first_of(flagged, _LISTED)}.")
    tilings = {(row.record.settings.tile, row.record.settings.tile_overlap) for row in rows}
    if len(tilings) > 1:
        lines.append("Models ran on tiles of different sizes, which also changes runtime and PSNR.")
    images = {tuple(image.name for image in row.record.images) for row in rows if row.record.complete}
    if len(images) > 1:
        lines.append("Models ran on different images of this set; means are not over the same images.")
    if len({row.record.timed_images for row in rows if row.record.timing}) > 1:
        lines.append("Models were timed on different images of this set; mean times are not over the same images.")
    models = ((row.label, row.record.model) for row in rows)
    unknown = sorted(label for label, its in models if its.origin == ZOO and its.weights_file and not its.checkpoint)
    if unknown:
        lines.append(f"Weights that are not listed in the manifest: {first_of(unknown, _LISTED)}.")
    return lines
