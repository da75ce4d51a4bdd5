"""The findings of an audit as sentences, the gravest first."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from eval.ranking.audit import LEAST_SHARE_OF_BOUND, MOST_COMPARED, Audit, Undercount
from eval.ranking.doubtful import OFF_SCALE, all_off_scale, misstated_means, off_scale
from eval.ranking.editions import Edition, Track
from eval.ranking.from_results_json import Results, common_roles, is_beyond, size_words
from eval.ranking.scoring import Ranking
from eval.report.table import number
from eval.words import counted, first_of, visible

COLD_SHARE = 0.05
_LISTED = 8
ONE_PASS = "Times are of one pass: what another pass would give is not known."
_UNITS = "as of another unit than ms, G (flops), M (num_parameters, activations), MiB"


def findings(audit: Audit) -> list[str]:
    """Return what a reader should know, with figures; the tables hold the rest."""
    return [*_cold_starts(audit), *_moves(audit), *_gates(audit), *_undercounts(audit), *_orders(audit), *_file(audit)]


def name(label: str) -> str:
    """Return a model's name as sentences and tables show it."""
    return visible(label.strip()) or "(no name)"


def cold_share(mean_ms: float, without_first_ms: float) -> float:
    """Return which part of a mean time its first image adds to the mean of the others."""
    return 1 - without_first_ms / mean_ms


def _listing(items: Sequence[str]) -> str:
    return first_of(items, _LISTED, "; ")


def _cold_starts(audit: Audit) -> Iterator[str]:
    cold = []
    for label, result in audit.results.items():
        for role in result.roles:
            mean, warm = result.mean_ms(role), result.warm_ms(role, 1)
            if warm and cold_share(mean, warm) > COLD_SHARE:
                extra, first = f"+{mean / warm - 1:.0%}", f"first image {result.runtimes(role)[0]:.1f}"
                text = f"{name(label)} {mean:.2f} -> {warm:.2f} ms on {role} ({extra}; {first})"
                cold.append((cold_share(mean, warm), text))
    if not cold:
        yield f"No model's first image is more than {COLD_SHARE:.0%} of its mean time."
        return
    texts = [text for _, text in sorted(cold, reverse=True)]
    share = (
        f"A cold first image is more than {COLD_SHARE:.0%} of the published mean time in {counted(len(cold), 'case')}"
    )
    yield f"{share}. Without it: {_listing(texts)}."


def _moves(audit: Audit) -> Iterator[str]:
    """Say who changes places with a neighbour when first images are left out."""
    published = sorted(audit.results, key=lambda label: audit.results[label].average_ms(audit.roles))
    for dropped, words in ((1, "the first image"), (10, "the first ten images")):
        swapped = []
        for before, after in pairwise(published):
            first, second = audit.speeds[before].mean_ms, audit.speeds[after].mean_ms
            warm = first[dropped], second[dropped]
            if warm[0] is not None and warm[1] is not None and warm[0] > warm[1]:
                published_order = f"{name(before)} {first[0]:.2f} < {second[0]:.2f} {name(after)}"
                swapped.append(f"{published_order} becomes {warm[0]:.2f} > {warm[1]:.2f} ms")
        if swapped:
            yield f"Without {words} of each set neighbours in time change places: {_listing(swapped)}."


def _gates(audit: Audit) -> Iterator[str]:
    if audit.edition is None:
        yield "No gate could be applied: no row is a known edition's baseline; give --edition."
        return
    for role, sizes in audit.sizes.items():
        yield f"{size_words(role, sizes, audit.edition)}."
    if is_beyond(audit.sizes):
        yield "No gate was applied, and nothing ranked."
    judged = [(f"{name(label)} {v.psnr} on {v.role}", v) for label, vs in audit.verdicts.items() for v in vs]
    below = [text for text, verdict in judged if not verdict.rounded]
    near = [text for text, verdict in judged if verdict.rounded and not verdict.strict]
    least = ", ".join(f"{gate.least} dB on {gate.role}" for gate in audit.edition.gates if gate.psnr_db)
    if near:
        yield f"The gate of {audit.edition.year} ({least}) is reached only by rounding by: {_listing(near)}."
    if below:
        yield f"Below the gate even as printed: {_listing(below)}."
    if judged and not near and not below:
        yield f"Every model reaches the gate of {audit.edition.year} ({least}) without rounding."


def _undercounts(audit: Audit) -> Iterator[str]:
    """Say whose FLOPs are too few for its parameters, and what counting all would change."""
    if not audit.undercounts:
        yield f"No model has FLOPs under {LEAST_SHARE_OF_BOUND} x parameters x 256 x 256."
        return
    yield f"{undercount_words(audit.undercounts)}."
    if audit.ranking and audit.at_bound:
        by_flops = next((track for track in audit.ranking.edition.tracks if track.metrics == ("flops",)), None)
        rankings, placed = (audit.ranking, audit.at_bound), _places(audit.ranking)
        changes = [_change(label, rankings, by_flops) for label in audit.undercounts if label in placed]
        if changes:
            yield f"With FLOPs at that bound: {_listing(changes)}. No figure in this audit was changed."


def undercount_words(found: Mapping[str, Undercount]) -> str:
    """Return a sentence on FLOPs that are too few for a model's parameters, without its full stop."""
    texts = [f"{name(label)} {its.flops / 1e9:.2f} G against {its.bound / 1e9:.2f} G" for label, its in found.items()]
    return (
        f"FLOPs under {LEAST_SHARE_OF_BOUND} x parameters x 256 x 256, so the counter may not have seen all work "
        f"(strided or pooled branches and scans also come out low): {_listing(texts)}"
    )


def _change(label: str, rankings: tuple[Ranking, Ranking], by_flops: Track | None) -> str:
    """Say how a model's places in a ranking differ from those in another one."""
    edition, (before, after) = rankings[0].edition, (_places(ranking)[label] for ranking in rankings)
    main = edition.main.name
    text = f"{name(label)} main rank {before[main].rank} -> {after[main].rank}"
    if edition.has_scores:
        text += f", Score_Final {number(before[main].total)} -> {number(after[main].total)}"
    if by_flops:
        text += f", rank in FLOPs {before[by_flops.name].rank} -> {after[by_flops.name].rank}"
    return text


def _places(ranking: Ranking) -> dict:
    return {row.entry.label: row.places for row in ranking.rows if row.has_place}


def _orders(audit: Audit) -> Iterator[str]:
    for figure, words in (("runtime_ms", "time, its first image left out,"), ("psnr_db", "PSNR")):
        pairs = [pair for pair in audit.neighbours if pair.figure == figure]
        texts = [(pair.verdict, f"{name(pair.first)} and {name(pair.second)} on {pair.role}") for pair in pairs]
        alike = [text for verdict, text in texts if verdict == "not separable"]
        reversed_ones = [text for verdict, text in texts if verdict.startswith("reversed")]
        if pairs:
            listed = f": {_listing(alike)}" if alike else ""
            told = f"{len(alike)} of {len(pairs)} pairs of neighbours in {words} cannot be told apart at 95%{listed}."
            yield f"{told} {ONE_PASS}" if figure == "runtime_ms" else told
        if reversed_ones:
            reversed_order = f"The published order of neighbours in {words} is the wrong way round"
            within = " within this pass" if figure == "runtime_ms" else ""
            yield f"{reversed_order}{within} at 95%, each pair by itself: {_listing(reversed_ones)}."
    if len(audit.results) > MOST_COMPARED + 1:
        yield f"Only the first {MOST_COMPARED} places of each order were compared with the next one."


def _file(audit: Audit) -> Iterator[str]:
    """Say what in the file itself does not fit."""
    yield from (f"{doubt}." for doubt in doubts(audit.results, audit.edition))
    identical = [
        f"{name(label)} on {result.psnrs(role).count(math.inf)} of {role}"
        for label, result in audit.results.items()
        for role in result.roles
        if math.inf in result.psnrs(role)
    ]
    if identical:
        yield (
            f"Images that equal HR, so that their PSNR and its mean are infinite: {_listing(identical)}. Differences "
            "of PSNR are over the other images."
        )
    hidden = [name(label) for label, result in audit.results.items() if result.psnr_roles != result.roles]
    if hidden:
        yield f"Times on test without PSNR, as of hidden HR images, so no gate on test: {_listing(hidden)}."
    unknown = sorted({key for result in audit.results.values() for key in result.model_extra or {}})
    if unknown:
        yield f"Keys that were not looked at: {_listing([visible(key) for key in unknown])}."


def doubts(results: Results, edition: Edition | None) -> Iterator[str]:
    """Say what in a file bears on ranks without being refused; sentences without their full stops."""
    wrong = misstated_means(results).items()
    texts = [f"{name(label)} {key} {stated:.6g}, of its values {mean:.6g}" for (label, key), (stated, mean) in wrong]
    if texts:
        yield f"Stated means that are not the mean of their values: {_listing(texts)}. The values were used"
    far = off_scale(results).items()
    texts = [f"{name(label)} {key} {figure:.6g}, median {usual:.6g}" for (label, key), (figure, usual) in far]
    if texts:
        yield (
            f"Figures at least {OFF_SCALE} times the median of all models, or as many times less, {_UNITS}: "
            f"{_listing(texts)}. They were used as they stand"
        )
    far = all_off_scale(results, edition.baseline).items() if edition else ()
    texts = [f"{key} {usual:.6g}, baseline {figure:.6g}" for key, (usual, figure) in far]
    if edition and texts:
        yield (
            f"Medians of all models at least {OFF_SCALE} times the published figure of {edition.baseline.model}, the "
            f"baseline of {edition.year}, or as many times less, {_UNITS}: {_listing(texts)}. They were used as they "
            "stand"
        )
    if common_roles(results) == ("valid",) and any(result.has_test for result in results.values()):
        yield "Not every model has test figures: averages, ranks and orders are of valid alone"
