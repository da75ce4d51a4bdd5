"""An edition's scores and ranks for one table of the page, where they can be had; else the reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eval.editions import Edition, all_editions
from eval.entries import entries_from, measured_baseline
from eval.errors import RunError
from eval.record import Protocol, Record
from eval.report.score_notes import Scored, notes
from eval.scoring import Row, rank


@dataclass(frozen=True)
class Ranked:
    """What an edition says of a table.

    Attributes:
        edition: None if none can be applied.
        rows: by label; empty if there is no ranking.
        notes: what must be known to read the ranks, or why there are none.
        gates: ``(role, least PSNR in dB)`` that hold for the table's set.
        baseline: label of the edition's baseline, if it is in the table.
    """

    edition: Edition | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    gates: tuple[tuple[str, float], ...] = ()
    baseline: str | None = None


def rank_rows(rows: Sequence[Record], edition: Edition | None = None) -> Ranked:
    """Rank a table by an edition, or by the newest one whose baseline is in it.

    The edition's gates are told even where it cannot rank, as for records without times.
    """
    rules = edition or _newest_with_baseline(rows)
    if rules is None:
        return Ranked(notes=("No scores: no edition's baseline is in this table.",))
    complete = [record.model.label for record in rows if record.complete]
    unranked = Ranked(rules, gates=_gates(rules, rows), baseline=next(filter(rules.baseline.is_called, complete), None))
    if all(record.settings.protocol == Protocol.ACCURACY for record in rows):
        return replace(unranked, notes=("No scores: this protocol takes no times.",))
    try:
        measured = entries_from(rows, rules)
        ranking = rank(measured.entries, rules, measured_baseline(measured, rules))
    except RunError as error:
        return replace(unranked, notes=(f"No scores by the rules of {rules.year}: {error}",))
    by_label = {row.entry.label: row for row in ranking.rows}
    return replace(unranked, rows=by_label, notes=tuple(notes(Scored(ranking, measured))))


def _newest_with_baseline(rows: Sequence[Record]) -> Edition | None:
    known = sorted((edition for edition in all_editions().values() if edition.tracks), key=lambda its: -its.year)
    labels = [record.model.label for record in rows if record.complete]
    return next((its for its in known if any(map(its.baseline.is_called, labels))), None)


def _gates(edition: Edition, rows: Sequence[Record]) -> tuple[tuple[str, float], ...]:
    dataset = rows[0].dataset
    role = edition.role_of(dataset.name, dataset.num_images)
    return tuple((gate.role, gate.psnr_db) for gate in edition.gates if gate.role == role and gate.psnr_db is not None)
