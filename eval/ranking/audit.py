"""What a published results.json of the challenge hides: cold starts, near-misses, uncounted work, unsettled orders.

Knows no torch and rounds nothing. Warnings never change a figure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from eval.intervals import Interval, paired_difference
from eval.ranking.doubtful import misstated_means
from eval.ranking.editions import Edition, all_editions
from eval.ranking.entries import Entry, published_baseline
from eval.ranking.from_results_json import Results, common_roles, is_beyond, measured_from, other_sizes
from eval.ranking.gates import Verdict
from eval.ranking.scoring import Ranking, competition_ranks, rank

INPUT_SIDE = 256
LEAST_SHARE_OF_BOUND = 0.8
DROPPED = (0, 1, 10)
# Every interval is bootstrapped; so many of the leading places are compared with the next one.
MOST_COMPARED = 50
_HALF_PRINTED_FLOPS, _HALF_PRINTED_PARAMS = 0.005e9, 0.0005e6


@dataclass(frozen=True)
class Speed:
    """A model's time without its first 0, 1 and 10 images of each set: mean in ms, and rank; None if none are left."""

    mean_ms: dict[int, float | None]
    rank: dict[int, int | None]


@dataclass(frozen=True)
class Undercount:
    """FLOPs under 0.8 of what parameters used once a position give; such a counter may not have seen all work."""

    flops: float
    bound: float


@dataclass(frozen=True)
class Neighbours:
    """Two models next to each other in an order, and the paired difference of the second from the first.

    Attributes:
        figure: "runtime_ms", without the first image, or "psnr_db".
        gap: the difference of the published means that the order comes from.
    """

    figure: str
    role: str
    first: str
    second: str
    gap: float
    difference: Interval

    @property
    def verdict(self) -> str:
        """Tell whether the interval confirms the order, leaves it open, or contradicts it."""
        if self.difference.covers(0):
            return "not separable"
        # Of equal means either order is as good: times grow along an order, and PSNR falls.
        gap = self.gap or (1 if self.figure == "runtime_ms" else -1)
        confirmed = (self.difference.estimate > 0) == (gap > 0)
        # Of times there is one pass.
        if self.figure == "runtime_ms":
            return "apart in this pass" if confirmed else "reversed in this pass"
        return "settled" if confirmed else "reversed"


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        edition: by whose rules gates and scores are; None if it is not known.
        roles: the sets that averages are over.
        misstated: by model and key, the stated mean and that of the values, where they differ.
        ranking: by the edition's rules and its published baseline; None if they are not known.
        at_bound: the same, if FLOPs were what the bound says where they fall under it; None if nowhere.
        sizes: by set, how many images there are and how many the edition's set has, where these are two numbers.
    """

    source: str
    results: Results
    edition: Edition | None
    roles: tuple[str, ...]
    speeds: Mapping[str, Speed]
    verdicts: Mapping[str, tuple[Verdict, ...]]
    undercounts: Mapping[str, Undercount]
    neighbours: tuple[Neighbours, ...]
    misstated: Mapping[tuple[str, str], tuple[float, float]]
    ranking: Ranking | None
    at_bound: Ranking | None
    sizes: Mapping[str, tuple[int, int]]


def audit(source: str, results: Results, edition: Edition | None = None) -> Audit:
    """Look for all that the module's head names; the edition is told by its baseline's figures if not given."""
    edition = edition or recognise(results)
    sizes = other_sizes(results, edition) if edition else {}
    beyond = is_beyond(sizes)
    roles = common_roles(results)
    undercounts = undercounts_of(results)
    entries = measured_from(results).entries
    corrected = [replace(its, flops=low.bound) if (low := undercounts.get(its.label)) else its for its in entries]
    return Audit(
        source=source,
        results=results,
        edition=edition,
        roles=roles,
        speeds=_speeds(results, roles),
        verdicts={its.label: edition.judge(its.psnr_db, its.psnr_images) if edition else () for its in entries},
        undercounts=undercounts,
        neighbours=(*_runtime_neighbours(results, roles), *_psnr_neighbours(results, roles)),
        misstated=misstated_means(results),
        ranking=None if beyond else _ranked(entries, edition, roles),
        at_bound=_ranked(corrected, edition, roles) if undercounts and not beyond else None,
        sizes=sizes,
    )


def _ranked(entries: Sequence[Entry], edition: Edition | None, roles: Sequence[str]) -> Ranking | None:
    if edition is None or not edition.tracks:
        return None
    return rank(entries, edition, published_baseline(edition, roles))


def recognise(results: Results) -> Edition | None:
    """Return the edition whose baseline is among the models, by name and with its published complexity; else None."""
    for edition in all_editions().values():
        figures = edition.baseline
        for name, result in results.items():
            flops_off = abs(result.flops * 1e9 - figures.flops)
            params_off = abs(result.num_parameters * 1e6 - figures.num_params)
            if figures.is_called(name) and flops_off <= _HALF_PRINTED_FLOPS and params_off <= _HALF_PRINTED_PARAMS:
                return edition
    return None


def _speeds(results: Results, roles: Sequence[str]) -> dict[str, Speed]:
    means = {name: {n: its.warm_average_ms(roles, n) for n in DROPPED} for name, its in results.items()}
    ranks: dict[int, dict[str, int]] = {}
    for dropped in DROPPED:
        known = {name: ms for name, mean in means.items() if (ms := mean[dropped]) is not None}
        ranks[dropped] = dict(zip(known, competition_ranks(list(known.values())), strict=True))
    return {name: Speed(mean, {n: ranks[n].get(name) for n in DROPPED}) for name, mean in means.items()}


def undercounts_of(results: Results) -> dict[str, Undercount]:
    """Return by model FLOPs that are too few for its parameters, beside what these let expect."""
    counts = {name: Undercount(r.flops * 1e9, r.num_parameters * 1e6 * INPUT_SIDE**2) for name, r in results.items()}
    return {name: count for name, count in counts.items() if count.flops < LEAST_SHARE_OF_BOUND * count.bound}


def _runtime_neighbours(results: Results, roles: Sequence[str]) -> list[Neighbours]:
    """Compare neighbours in the published mean time on each set, without its first image, with that set's own means."""
    found = []
    for first, second in _leading(sorted(results, key=lambda name: results[name].average_ms(roles))):
        for role in roles:
            gap = results[second].mean_ms(role) - results[first].mean_ms(role)
            times = results[second].runtimes(role)[1:], results[first].runtimes(role)[1:]
            if times[0]:
                found.append(Neighbours("runtime_ms", role, first, second, gap, _difference(*times)))
    return found


def _psnr_neighbours(results: Results, roles: Sequence[str]) -> list[Neighbours]:
    """Compare neighbours in mean PSNR, each set in its own order from the highest on."""
    found = []
    for role in roles:
        means = {name: result.mean_db(role) for name, result in results.items() if role in result.psnr_roles}
        for first, second in _leading(sorted(means, key=lambda name: -means[name])):
            gap = 0.0 if means[first] == means[second] else means[second] - means[first]
            difference = _psnr_difference(results[second].psnrs(role), results[first].psnrs(role))
            found.append(Neighbours("psnr_db", role, first, second, gap, difference))
    return found


def _psnr_difference(model: Sequence[float], other: Sequence[float]) -> Interval:
    """Compare two models on the images that neither reproduces exactly: of those the difference is not finite."""
    finite = [pair for pair in zip(model, other, strict=True) if math.inf not in pair]
    return _difference(*zip(*finite, strict=True)) if finite else Interval(0.0, -math.inf, math.inf)


def _leading(ordered: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(ordered[: MOST_COMPARED + 1]))


def _difference(model: Sequence[float], other: Sequence[float]) -> Interval:
    return paired_difference(np.array(model)[:, np.newaxis], np.array(other)[:, np.newaxis])
