"""A table in a few sentences: who is first by which rule, what of that is settled and what is not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eval.errors import RunError
from eval.intervals import LEAST_SAMPLES
from eval.ranking.comparison import Side, compare_sides, psnr_between
from eval.ranking.editions import Edition
from eval.ranking.scoring import Place
from eval.records.record import Record
from eval.report.ranked import Ranked
from eval.words import counted, listed, visible

_NAMED_AT_MOST = 4


@dataclass(frozen=True)
class Headline:
    """What is read first: one claim, and how sure it is."""

    claim: str
    details: tuple[str, ...] = ()


def headline(records: Sequence[Record], ranked: Ranked, baseline: int | None) -> Headline:
    """Return the headline of a table of one set, one record a model; ``baseline`` is one's place."""
    places = {label: place for label, place in ranked.places.items() if place.rank is not None}
    leader = min(places, key=lambda label: (places[label].rank or 0, label), default=None)
    index = next((i for i, record in enumerate(records) if record.model.label == leader and record.complete), None)
    if leader is None or index is None or ranked.edition is None:
        return _by_psnr(records, ranked)
    names = {record.model.label: visible(record.model.full_name) for record in records}
    details = [_rank_words(leader, places, names, ranked.unsettled)]
    if baseline not in (None, index):
        details.append(_runtime_words(records[index], records[baseline], records))
    details += [_psnr_words(records, index), _gate_words(ranked, records[index])]
    claim = f"{_first_words(leader, places, names)} by the rules of NTIRE {ranked.edition.year}"
    score = _score_words(ranked, ranked.edition, places[leader], names)
    return Headline(f"{claim}{score}.", tuple(filter(None, details)))


def _first_words(leader: str, places: dict[str, Place], names: dict[str, str]) -> str:
    """Say who is first of how many; equal totals share a rank, and one among none is no place."""
    if len(places) == 1:
        return f"{names[leader]} is the only model ranked"
    first = [leader, *(label for label in places if label != leader and places[label].rank == 1)]
    if len(first) == 1:
        return f"{names[leader]} is first of {len(places)}"
    return f"{_listing([names[label] for label in first])} share the first place of {len(places)}"


def _score_words(ranked: Ranked, edition: Edition, leader: Place, names: dict[str, str]) -> str:
    """Say the first one's score, and whether it beats the baseline's, which has no rank."""
    if not edition.has_scores or leader.total is None:
        return ""
    place = ranked.places.get(ranked.baseline or "")
    if place is None or place.total is None:
        return f", with a score of {leader.total:.2f} (less is better)"
    base = f"the unranked baseline {names[ranked.baseline or '']}"
    if place.total == leader.total:
        # Neither is before the other; the table has the baseline, which has no rank, above all of its score.
        return f" with a score of {leader.total:.2f}, equal to that of {base} (less is better)"
    verb = "behind" if place.total < leader.total else "before"
    return f" with a score of {leader.total:.2f}, {verb} {base} with {place.total:.2f} (less is better)"


def _gate_words(ranked: Ranked, record: Record) -> str:
    if any(row.verdicts for row in ranked.rows.values()):
        return ""
    return f"No minimum PSNR is set for {visible(record.dataset.name)}: a fast model with a low PSNR can be first."


def _rank_words(leader: str, places: dict[str, Place], names: dict[str, str], unsettled: str) -> str:
    if len(places) == 1:
        return ""
    if places[leader].interval is None:
        return f"Whether ranks are settled is unknown: {unsettled}."
    rivals = [label for label, place in places.items() if label != leader and place.interval and place.interval[0] == 1]
    if rivals:
        return f"The first place is not settled: {_listing([names[rival] for rival in rivals])} may be first as well."
    if places[leader].interval != (1, 1):
        # Each pair is compared by itself: the first may be open to one that is surely behind a third.
        return "The first place is not settled."
    return "The first place is settled (95%, for each pair of models separately)."


def _runtime_words(record: Record, other: Record, records: Sequence[Record] = ()) -> str:
    try:
        ratio = compare_sides(*(Side.of_record(its, records) for its in (record, other))).runtime
    except RunError:
        return ""
    if ratio is None:
        return ""
    name, base = visible(record.model.full_name), visible(other.model.full_name)
    if ratio.covers(1):
        known = f"[{ratio.low:.2f}, {ratio.high:.2f}]" if math.isfinite(ratio.high) else "of too few samples"
        shown = f"{ratio.estimate:.2f} {known}"
        return f"The runtimes of {name} and {base} do not differ significantly (ratio {shown})."
    low, high = sorted(abs(100 * (1 - end)) for end in (ratio.low, ratio.high))
    # In percent, with so many digits that the near end, which is no 0, does not look like one.
    decimals = max(0 if high - low >= 1 else 1, ratio.decimals(1, 2) - 2)
    share, more = abs(100 * (1 - ratio.estimate)), "less" if ratio.estimate < 1 else "more"
    return f"{name} takes {share:.{decimals}f}% {more} time than {base} [{low:.{decimals}f}, {high:.{decimals}f}]."


def _by_psnr(records: Sequence[Record], ranked: Ranked) -> Headline:
    """Return the headline of a table without ranks."""
    networks = [(i, record) for i, record in enumerate(records) if record.complete and record.model.is_network]
    known = [(psnr, i) for i, record in networks if (psnr := record.mean("psnr_db")) is not None]
    if not known:
        return Headline("No model of this table has a PSNR." if networks else "No network of this table ran.")
    psnr_db = max(psnr for psnr, _ in known)
    first = [index for psnr, index in known if psnr == psnr_db]
    best, names = first[0], [visible(records[index].model.full_name) for index in first]
    dataset = records[best].dataset
    on = f"on {visible(dataset.name)} ({counted(dataset.num_images, 'image')})"
    if len(known) == 1:
        return Headline(f"{names[0]} has {psnr_db:.2f} dB {on}.", ranked.notes[:1])
    verb = "has" if len(names) == 1 else "share"
    claim = f"{_listing(names)} {verb} the highest PSNR of {len(known)} networks {on}, {psnr_db:.2f} dB."
    return Headline(claim, (*filter(None, [_psnr_words(records, best)]), *ranked.notes[:1]))


def _psnr_words(records: Sequence[Record], index: int) -> str:
    """Say from which networks a model can be told apart in PSNR."""
    kinds: dict[str, list[str]] = {"does not differ significantly from": [], "is above": [], "is below": []}
    for place, record in enumerate(records):
        its = psnr_between(records[index], record) if place != index and record.model.is_network else None
        if its is not None:
            kind = "is above" if its.estimate > 0 else "is below"
            kind = "does not differ significantly from" if its.covers(0) else kind
            kinds[kind].append(visible(record.model.full_name))
    said = "; it ".join(f"{kind} {_listing(labels)}" for kind, labels in kinds.items() if labels)
    number = len(records[index].psnrs_db)
    images = counted(number, "image")
    if said and number < LEAST_SAMPLES:
        return f"No difference in PSNR can be settled on {images}: it takes {LEAST_SAMPLES}."
    return f"In PSNR, {visible(records[index].model.full_name)} {said} (95%, {images})." if said else ""


def _listing(names: Sequence[str]) -> str:
    """Return names as a list in a sentence; of many their number."""
    return f"{len(names)} models" if len(names) > _NAMED_AT_MOST else listed(names)
