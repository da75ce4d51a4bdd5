"""A year's published order beside ours, by the same rules, and how far ours is settled."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.all_years_rows import Row, Year
from eval.ranking.editions import find_edition
from eval.ranking.entries import Entry, weighted_score
from eval.timing.samples import Ratio


@dataclass(frozen=True)
class Compared:
    """One entry's rank as published, and the ranks that it can have by our figures, the likeliest and the range."""

    row: Row
    published: int
    here: int
    first: int
    last: int

    @property
    def words(self) -> str:
        """Whether the two orders differ, and whether that is settled."""
        if self.here == self.published:
            return ""
        return "differs, not settled" if self.first <= self.published <= self.last else "differs"


def compare_orders(year: Year) -> list[Compared]:
    """Hold a year's published order against ours by the same rules, among the entries that are in both.

    The range of ranks counts as before an entry only what is so at both ends of the intervals of ratios to RLFN.
    """
    totals = _totals(year) if year.edition.published else {}
    order = [one for one in year.edition.order if one in totals]
    rows = {row.id: row for row in year.rows}
    ends = [totals[one] for one in order]
    return [
        Compared(
            rows[one],
            place + 1,
            1 + sum(middle < mine[0] for middle, _, _ in ends),
            1 + sum(high < mine[1] for _, _, high in ends),
            len(order) - sum(low > mine[2] for _, low, _ in ends),
        )
        for place, (one, mine) in enumerate(zip(order, ends, strict=True))
    ]


def _totals(year: Year) -> Mapping[int, tuple[float, float, float]]:
    """Return each entry's total in the year's main track, and that at both ends of its ratio's interval."""
    rules = find_edition(year.edition.year)
    known = {row.id: row for row in year.rows if row.id in year.edition.order and row.ratio}
    if not rules.main.weights:
        return {one: _ends(row.ratio) for one, row in known.items()}
    base = next((row for row in year.rows if row.ratio and rules.baseline.is_called(row.label)), None)
    if base is None or base.ratio is None:
        return {}
    unit, reference = base.ratio.estimate, _ranked(base)
    return {
        one: tuple(weighted_score(rules.main, _ranked(row), reference, ratio / unit) for ratio in _ends(row.ratio))
        for one, row in known.items()
        if row.flops
    }


def _ends(ratio: Ratio) -> tuple[float, float, float]:
    return ratio.estimate, ratio.low, ratio.high


def _ranked(row: Row) -> Entry:
    complexity = row.set14.complexity if row.set14 else None
    return Entry(row.label, None, row.flops, complexity.num_params if complexity else None)
