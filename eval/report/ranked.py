"""An edition's scores and ranks for one table of the page, where they can be had; else the reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eval.errors import RunError
from eval.ranking.editions import Edition, all_editions
from eval.ranking.entries import measured_baseline
from eval.ranking.from_records import entries_from
from eval.ranking.gates import Gate
from eval.ranking.scoring import Place, Row, rank
from eval.records.conditions import is_timed
from eval.records.record import Record
from eval.report.score_notes import Scored, notes, why_unsettled


@dataclass(frozen=True)
class Ranked:
    """What an edition says of a table.

    Attributes:
        edition: None if none can be applied.
        rows: by label; empty if there is no ranking.
        notes: what must be known to read the ranks, or why there are none.
        gates: those that hold for the table's set.
        baseline: label of the edition's baseline, if it is in the table.
        unsettled: why ranks of the main track have no intervals; empty where they have.
    """

    edition: Edition | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    baseline: str | None = None
    unsettled: str = ""

    @property
    def places(self) -> dict[str, Place]:
        """Places in the main track by label, of the models that take part and of the baseline."""
        main = self.edition.main.name if self.edition and self.rows else ""
        return {label: row.places[main] for label, row in self.rows.items() if row.places}


def rank_rows(rows: Sequence[Record], edition: Edition | None = None, others: Sequence[Record] = ()) -> Ranked:
    """Rank a table of one set, protocol and device by an edition, or by the newest one whose baseline is in it.

    An edition's gates are told even where it cannot rank, as for records without times. ``others`` are records of other
    sets under the same conditions: if these are the other half of the challenge's images, models are ranked by both, as
    the challenge does.
    """
    rules = edition or next(iter(editions_with_baseline(rows)), None)
    if rules is None:
        known = ", ".join(f"{its.baseline.model} ({its.year})" for its in all_editions().values() if its.tracks)
        return Ranked(notes=(f"No scores: no edition's baseline is in this table; also run one of: {known}.",))
    role = _role(rules, rows[0])
    gates = tuple(its for its in rules.gates if its.role == role and its.psnr_db is not None)
    complete = [record.model.label for record in rows if record.complete]
    called = rules.baseline.among(complete)
    unranked = Ranked(rules, gates=gates, baseline=next((label for label in complete if label in called), None))
    if not any(map(is_timed, rows)):
        why = "No scores: the protocol accuracy measures no runtime; use --protocol steady."
        return replace(unranked, notes=(why,))
    other_half = [record for record in others if role and _role(rules, record) not in (None, role)]
    try:
        return _ranked(unranked, rules, [*rows, *other_half])
    except RunError as error:
        if not other_half:
            return replace(unranked, notes=(f"No scores by the rules of {rules.year}: {error}",))
        ranked = rank_rows(rows, rules)
        return replace(ranked, notes=(f"Ranked by this set alone, not by valid and test: {error}.", *ranked.notes))


def _ranked(unranked: Ranked, edition: Edition, records: Sequence[Record]) -> Ranked:
    measured = entries_from(records, edition)
    ranking = rank(measured.entries, edition, measured_baseline(measured, edition))
    by_label = {row.entry.label: row for row in ranking.rows}
    scored = Scored(ranking, measured)
    return replace(unranked, rows=by_label, notes=tuple(notes(scored)), unsettled=why_unsettled(scored))


def _role(edition: Edition, record: Record) -> str | None:
    return edition.role_of(record.dataset.name, record.dataset.num_images)


def editions_with_baseline(rows: Sequence[Record]) -> list[Edition]:
    """Return the editions whose baseline is among complete records, the newest first."""
    known = sorted((edition for edition in all_editions().values() if edition.tracks), key=lambda its: -its.year)
    labels = [record.model.label for record in rows if record.complete]
    return [its for its in known if any(map(its.baseline.is_called, labels))]
