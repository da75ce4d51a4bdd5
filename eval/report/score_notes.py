"""What must be known to read a ranking: its rules, how it was measured, who is not in it and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from eval.intervals import CONFIDENCE
from eval.ranking.editions import Edition, Metric
from eval.ranking.entries import Entry, Measured
from eval.ranking.scoring import Ranking, Row
from eval.report.columns import COLUMNS
from eval.report.table import Figure
from eval.words import counted, visible
from eval.zoo.model_info import with_weights

# How each figure is headed and printed, as in all tables.
FIGURES: dict[str, Figure] = {key: its for key in get_args(Metric) for its in COLUMNS if its.key == key}
SCORES: dict[Metric, str] = {
    "runtime_ms": "Score_Runtime",
    "flops": "Score_FLOPs",
    "num_params": "Score_Params",
    "activations": "Score_Acts",
    "peak_memory_mib": "Score_Memory",
}


@dataclass(frozen=True)
class Scored:
    """A ranking, and how its figures were measured."""

    ranking: Ranking
    measured: Measured


def name_of(entry: Entry) -> str:
    """Return an entry's name as tables show it: with its weights where they are not the released ones."""
    return visible(with_weights(entry.label.strip(), entry.weights))


def notes(scored: Scored) -> list[str]:
    """Return the sentences without which the tables cannot be read."""
    ranking, measured = scored.ranking, scored.measured
    edition, reference = ranking.edition, ranking.reference
    known = {its: value for metric, its in FIGURES.items() if (value := getattr(reference, metric))}
    figures = ", ".join(f"{its.title} {its.text(value)} {its.unit}" for its, value in known.items())
    lines = [f"Rules of {edition.year} ({edition.source}). Baseline {name_of(reference)}: {figures}."]
    lines += _rule_notes(edition)
    lines.append(_time_note(measured))
    if measured.device and not edition.runs_on(measured.device):
        lines.append(_device_note(scored))
    lines += _gate_notes(scored)
    lines += [_exclusion(row) for row in ranking.rows if not row.has_place]
    lines += _condition_notes(ranking)
    if ranking.has_intervals:
        lines.append(_interval_note(ranking))
    return [*lines, *(f"{note}." for note in measured.notes)]


def _rule_notes(edition: Edition) -> list[str]:
    """Return by which rule each track ranks; a track of one figure is called by it."""
    lines = []
    for track in edition.tracks:
        weights = " + ".join(f"{weight:g} {SCORES[metric]}" for metric, weight in track.weights.items())
        figures = ", ".join(FIGURES[metric].title for metric in track.ranks)
        if track.weights and track is edition.main:
            lines.append(f"Scores are exp(2 x figure / baseline's); Score_Final = {weights}. The least wins.")
        elif len(track.weights) > 1:
            lines.append(f"{track.name}: {weights}, scores being exp(2 x figure / baseline's). The least wins.")
        elif len(track.ranks) > 1:
            lines.append(f"{track.name}: sum of the ranks in {figures}. The least wins; such ranks have no intervals.")
        elif track.ranks:
            lines.append(f"{track.name}: rank in {figures}. The least wins.")
    return lines


def interval_kind(ranking: Ranking, track: str | None = None) -> str:
    """Return what intervals of ranks are, in a track or in any; empty where there are none."""
    kind = "simultaneous" if ranking.simultaneous else "pairwise"
    places = (place for row in ranking.rows for name, place in row.places.items() if track in (None, name))
    return f"{kind} {CONFIDENCE:.0%}" if any(place.interval for place in places) else ""


def why_unsettled(scored: Scored) -> str:
    """Return why ranks of the main track have no intervals, as a part of a sentence; empty where they have."""
    main = scored.ranking.edition.main
    if scored.measured.unpaired:
        return scored.measured.unpaired[:1].lower() + scored.measured.unpaired[1:]
    if main.has_intervals:
        return ""
    what = "sums of ranks" if main.ranks else "scores without the runtime"
    return f"{main.name} ranks by {what}, which have no intervals"


def _interval_note(ranking: Ranking) -> str:
    alone = (
        "each comparison of two models holds by itself, so that of many some are wrong; "
        "eval score --simultaneous gives ranges that hold for all models together"
    )
    return (
        "A range of ranks: the order is not settled. One model is before another only where the interval of the ratio "
        f"of their paired runtimes says so, {interval_kind(ranking)}: "
        f"{'these ranges hold for all models together' if ranking.simultaneous else alone}."
    )


def _time_note(measured: Measured) -> str:
    how = {
        "steady": "mean over images of the median over rounds, after warming up",
        "official": "mean over images, cold first image included",
    }
    parts = {name: f"{part} of " for name, part in measured.parts.items()}
    sets = " and ".join(f"{parts.get(name, '')}{visible(name)}" for name in measured.sets)
    return f"Time: {how.get(measured.protocol, measured.protocol)}, on {sets}, protocol {measured.protocol}."


def _device_note(scored: Scored) -> str:
    edition = scored.ranking.edition
    text = f"Time was taken on {visible(scored.measured.device)}, not on the challenge's {edition.gpu}"
    if any(entry is scored.ranking.reference for entry in scored.measured.entries):
        return f"{text}: scores and ranks of runtime hold for this device."
    return f"{text}, where the published baseline was measured: do not use this Score_Runtime; use --baseline measured."


def _gate_notes(scored: Scored) -> list[str]:
    edition, measured = scored.ranking.edition, scored.measured
    gates = {gate.role: gate for gate in edition.gates if gate.psnr_db is not None}
    if not gates:
        return [f"No gate is known of {edition.year}."]
    judged = [(row, {verdict.role for verdict in row.verdicts}) for row in scored.ranking.rows]
    verdicts = {role for _, roles in judged for role in roles}
    if verdicts:
        lines = [f"Gate applied: {scored.ranking.gate}."]
        with_psnr = {role for row, _ in judged for role in row.entry.psnr_db}
        lines += [
            f"The gate on {role} was not applied: no PSNR of {'the whole set' if role in with_psnr else 'it'}."
            for role in gates
            if role not in verdicts
        ]
        lines += [
            f"{name_of(row.entry)} has no PSNR on {role}, so the gate was not held against it."
            for role in gates
            for row, roles in judged
            if role in verdicts - roles
        ]
    else:
        parts = " and ".join(f"{gate.sets[0]} ({counted(gate.images, 'image')})" for gate in gates.values())
        sets = ", ".join(map(visible, measured.sets))
        lines = [f"No gate was applied: it is defined on {parts}, measured was {sets}."]
    return lines + [
        f"{name_of(row.entry)} reaches {its.least} dB on {its.role} only as printed: {its.psnr}."
        for row in scored.ranking.rows
        for its in row.verdicts
        if its.rounded and not its.strict
    ]


def _exclusion(row: Row) -> str:
    name = name_of(row.entry)
    if row.lacking:
        return f"{name} is not ranked: not measured: {', '.join(FIGURES[metric].title for metric in row.lacking)}."
    below = ", ".join(f"{its.psnr} dB on {its.role} (least {its.least})" for its in row.failed)
    return f"{name} is not ranked: PSNR below the gate: {below}."


def _behind(rows: Iterable[tuple[Row, Sequence[Metric]]]) -> str:
    return ", ".join(
        f"{name_of(row.entry)} ({', '.join(FIGURES[its].title for its in its_own)})" for row, its_own in rows if its_own
    )


def _condition_notes(ranking: Ranking) -> list[str]:
    lines = []
    for name in [track.name for track in ranking.edition.tracks]:
        placed = [(row, row.places[name]) for row in ranking.rows if row.has_place]
        broken = _behind((row, place.worse) for row, place in placed)
        left_open = _behind((row, place.left_open) for row, place in placed)
        asks = f"{name} asks not to be worse than the baseline elsewhere"
        if broken:
            lines.append(f"* {asks}; worse are: {broken}.")
        if left_open:
            lines.append(f"{asks}; by runtimes it is not settled whether these are, so they have no star: {left_open}.")
    return lines
