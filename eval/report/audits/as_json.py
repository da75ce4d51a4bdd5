"""An audit as JSON: unrounded figures in base units, for other programs."""

import json
import math
from dataclasses import asdict

from eval.ranking.audit import DROPPED, Audit, Neighbours
from eval.ranking.from_results_json import ModelResult
from eval.ranking.gates import Verdict
from eval.ranking.scoring import Ranking
from eval.report.audits.findings import cold_share, findings


def as_json(audit: Audit) -> str:
    """Return the audit; names as they stand in the file."""
    content = {
        "source": audit.source,
        "edition": audit.edition and audit.edition.year,
        "findings": findings(audit),
        "models": [_model(audit, label, result) for label, result in audit.results.items()],
        "neighbours": [_neighbours(pair) for pair in audit.neighbours],
        "misstated": [
            {"model": label, "key": key, "stated": stated, "mean": mean}
            for (label, key), (stated, mean) in audit.misstated.items()
        ],
        "ranking": _ranking(audit.ranking),
        "ranking_with_flops_at_bound": _ranking(audit.at_bound),
    }
    return json.dumps(_worded(content), indent=1, allow_nan=False) + "\n"


def _worded(value: object) -> object:
    """Return content with infinite figures, as the PSNR of identical images, in the words of our records."""
    if isinstance(value, dict):
        return {key: _worded(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [_worded(its) for its in value]
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _model(audit: Audit, label: str, result: ModelResult) -> dict:
    speed, undercount = audit.speeds[label], audit.undercounts.get(label)
    return {
        "name": label,
        "sets": {role: _set(result, role) for role in result.roles},
        "average_ms": {f"without_{dropped}": speed.mean_ms[dropped] for dropped in DROPPED},
        "rank": {f"without_{dropped}": speed.rank[dropped] for dropped in DROPPED},
        "gates": [_gate(verdict) for verdict in audit.verdicts[label]],
        "undercount": undercount and asdict(undercount),
    }


def _gate(verdict: Verdict) -> dict:
    return {key: value for key, value in asdict(verdict).items() if key != "decimals"}


def _set(result: ModelResult, role: str) -> dict:
    mean, warm = result.mean_ms(role), result.warm_ms(role, 1)
    return {
        "psnr_db": result.mean_db(role) if role in result.psnr_roles else None,
        "first_ms": result.runtimes(role)[0],
        **{f"mean_ms_without_{dropped}": result.warm_ms(role, dropped) for dropped in DROPPED},
        "cold_start_share": cold_share(mean, warm) if warm else None,
    }


def _neighbours(pair: Neighbours) -> dict:
    difference = {part: _finite(value) for part, value in asdict(pair.difference).items()}
    return {**asdict(pair), "difference": difference, "verdict": pair.verdict}


def _ranking(ranking: Ranking | None) -> list[dict] | None:
    if ranking is None:
        return None
    return [
        {
            "name": row.entry.label,
            "scores": {metric: _finite(score) for metric, score in row.scores.items()},
            "tracks": {
                track: {"rank": place.rank, "total": _finite(place.total), "worse": place.worse}
                for track, place in row.places.items()
            },
        }
        for row in ranking.rows
    ]


def _finite(value: float | None) -> float | None:
    """Return None for a score, or an interval's end, beyond what JSON can hold."""
    return value if value is not None and math.isfinite(value) else None
