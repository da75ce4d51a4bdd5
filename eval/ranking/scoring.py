"""Ranking by the challenge's rules: gates, scores, tracks, and how far an order is settled.

Works on plain figures, rounds nothing and knows no torch.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from eval.errors import RunError
from eval.ranking.editions import Edition, Metric, Track
from eval.ranking.entries import Entry, relative_score, weighted_score
from eval.ranking.gates import GateRule, Verdict
from eval.ranking.rank_intervals import PairedOrder


@dataclass(frozen=True)
class Place:
    """What a row has in one track.

    Attributes:
        total: weighted scores, or sum of ranks; None where a figure is missing.
        rank: None for the baseline, which is not ranked.
        interval: the ranks that paired runtimes allow; None where nothing was paired, or the runtime does not count.
        worse: figures that the track asks to keep up with the baseline, and that are worse.
        left_open: those that are worse as measured, but not at 95% by paired runtimes.
    """

    total: float | None
    rank: int | None = None
    interval: tuple[int, int] | None = None
    worse: tuple[Metric, ...] = ()
    left_open: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class Row:
    """One entry in the ranking.

    Attributes:
        scores: exp(2x) of each figure in the main track; empty where an edition ranks without scores.
        lacking: figures of the main track that were not measured; then it has no place.
        failed: the gates that keep it out.
    """

    entry: Entry
    is_baseline: bool = False
    verdicts: tuple[Verdict, ...] = ()
    scores: Mapping[Metric, float] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    lacking: tuple[Metric, ...] = ()
    failed: tuple[Verdict, ...] = ()

    @property
    def has_place(self) -> bool:
        """Tell whether it takes part in the ranking."""
        return not (self.lacking or self.failed)


@dataclass(frozen=True)
class Ranking:
    """All rows: those in the main track from its least total on, then those without a place.

    Attributes:
        simultaneous: whether intervals of ranks hold for all models together, or each pair's by itself.
    """

    edition: Edition
    reference: Entry
    gate: GateRule
    rows: tuple[Row, ...]
    simultaneous: bool = False

    @property
    def has_intervals(self) -> bool:
        """Tell whether paired runtimes gave intervals of ranks."""
        return any(place.interval for row in self.rows for place in row.places.values())


def rank(
    entries: Sequence[Entry], edition: Edition, reference: Entry, gate: GateRule = "rounded", simultaneous: bool = False
) -> Ranking:
    """Rank entries by an edition's rules.

    Args:
        entries: each with a label of its own.
        edition: whose tracks are known.
        reference: the baseline, measured or published. An entry of its name is shown, not ranked.
        gate: whether PSNRs are held against the gate as printed, or unrounded.
        simultaneous: whether intervals of ranks are to hold for all models together.

    Raises:
        RunError: two entries have one label, or the reference lacks a figure that a track weighs, or it is 0.
    """
    repeated = [label for label, count in Counter(entry.label for entry in entries).items() if count > 1]
    if repeated:
        raise RunError(f"every model can be ranked once; given more than once: {', '.join(repeated)}")
    _refuse_without_figures(reference, edition)
    called = edition.baseline.among(entry.label for entry in entries)
    judged = [_judge(entry, edition, gate, entry.label in called) for entry in entries]
    placed = [row for row in judged if row.has_place]
    order = PairedOrder([row.entry for row in placed], reference, simultaneous)
    names = [track.name for track in edition.tracks]
    by_row = zip(*(_places(track, placed, reference, order) for track in edition.tracks), strict=True)
    ranked = [
        replace(row, scores=_scores(row.entry, edition, reference), places=dict(zip(names, its, strict=True)))
        for row, its in zip(placed, by_row, strict=True)
    ]
    ranked.sort(key=lambda row: (row.places[edition.main.name].total, row.entry.label))
    return Ranking(edition, reference, gate, (*ranked, *(row for row in judged if not row.has_place)), simultaneous)


def _refuse_without_figures(reference: Entry, edition: Edition) -> None:
    """Refuse a baseline without a figure that scores are relative to; sums of ranks need none of it."""
    for track in edition.tracks:
        if lacking := [metric for metric in track.weights if not getattr(reference, metric)]:
            without = f"cannot be the baseline without {', '.join(lacking)}"
            raise RunError(f"{reference.label}: {without}, which track {track.name!r} of {edition.year} weighs")


def _judge(entry: Entry, edition: Edition, gate: GateRule, is_baseline: bool) -> Row:
    """Return the row of an entry, without places yet."""
    verdicts = edition.judge(entry.psnr_db, entry.psnr_images)
    failed = tuple(verdict for verdict in verdicts if not getattr(verdict, gate))
    return Row(entry, is_baseline, verdicts, lacking=_lacking(entry, edition.main), failed=failed)


def _lacking(entry: Entry, track: Track) -> tuple[Metric, ...]:
    return tuple(metric for metric in track.metrics if getattr(entry, metric) is None)


def _scores(entry: Entry, edition: Edition, reference: Entry) -> dict[Metric, float]:
    metrics = edition.main.weights
    return {metric: relative_score(getattr(entry, metric), getattr(reference, metric)) for metric in metrics}


def _places(track: Track, rows: Sequence[Row], reference: Entry, order: PairedOrder) -> list[Place]:
    """Return one place a row; the baseline and rows without a figure do not count in the others' ranks."""
    ranked = [index for index, row in enumerate(rows) if not (row.is_baseline or _lacking(row.entry, track))]
    totals = _totals(track, [row.entry for row in rows], ranked, reference)
    known = [total for index in ranked if (total := totals[index]) is not None]
    ranks = dict(zip(ranked, competition_ranks(known), strict=True))
    intervals = order.intervals(track, ranked)
    places = []
    for index, row in enumerate(rows):
        worse: list[Metric] = [] if row.is_baseline else _worse(row.entry, reference, track)
        left_open: list[Metric] = ["runtime_ms"] if "runtime_ms" in worse and order.is_open(index) else []
        worse = [metric for metric in worse if metric not in left_open]
        interval = intervals.get(index)
        if interval:
            interval = min(interval[0], ranks[index]), max(interval[1], ranks[index])
        places.append(Place(totals[index], ranks.get(index), interval, tuple(worse), tuple(left_open)))
    return places


def _worse(entry: Entry, reference: Entry, track: Track) -> list[Metric]:
    """Return the figures that a track asks to keep up with the baseline, and that are worse as measured."""
    known: list[Metric] = [its for its in track.not_worse if None not in (getattr(entry, its), getattr(reference, its))]
    return [metric for metric in known if getattr(entry, metric) > getattr(reference, metric)]


def _totals(track: Track, entries: Sequence[Entry], ranked: Sequence[int], reference: Entry) -> list[float | None]:
    columns = [(metric, sorted(getattr(entries[index], metric) for index in ranked)) for metric in track.ranks]

    def total(entry: Entry) -> float:
        if track.weights:
            return weighted_score(track, entry, reference)
        return sum(1 + bisect_left(column, getattr(entry, metric)) for metric, column in columns)

    return [None if _lacking(entry, track) else total(entry) for entry in entries]


def competition_ranks(values: Sequence[float]) -> list[int]:
    """Return each value's rank from the least on; equal values share one and the ranks after them are skipped.

    So it is in the results of 2022; later editions say nothing of ties.
    """
    ordered = sorted(values)
    return [1 + bisect_left(ordered, value) for value in values]
