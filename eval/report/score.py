"""A ranking as tables: for the terminal, Markdown, CSV and LaTeX, with what must be known to read it."""

from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import rich.table

from eval.ranking.gates import psnr_decimals
from eval.ranking.scoring import Place, Ranking, Row
from eval.report.escapes import markdown_text
from eval.report.renderers import to_csv, to_latex, to_markdown, to_terminal
from eval.report.score_notes import FIGURES, SCORES, Scored, interval_kind, name_of, notes
from eval.report.table import NONE, Figure, Table, Value
from eval.report.tables import write_files

NAME = Figure("model", "Model", left=True, of=lambda row: name_of(row.entry))


def _psnr(key: str, ranking: Ranking) -> Figure:
    """Return a set's column, as its gate is printed: PSNR decides who takes part, not who is first."""
    title = f"PSNR {key} [dB]"
    strict = [row.entry.psnr_db[key] for row in ranking.rows if ranking.gate == "strict" and key in row.entry.psnr_db]
    decimals = psnr_decimals((gate for gate in ranking.edition.gates if gate.role == key), strict)
    return Figure(f"psnr_{key}_db", title, decimals=decimals, wraps=True, of=lambda row: row.entry.psnr_db.get(key))


def _figures(ranking: Ranking) -> list[Figure]:
    """Return the columns of figures: PSNR, what the tracks are made of, scores and their total."""
    edition = ranking.edition
    figures = [_psnr(key, ranking) for key in dict.fromkeys(key for row in ranking.rows for key in row.entry.psnr_db)]
    for metric in dict.fromkeys(metric for track in edition.tracks for metric in track.metrics):
        its, of = FIGURES[metric], attrgetter(f"entry.{metric}")
        figures.append(replace(its, title=its.heading, unit="", wraps=True, of=of, measure=None))
    if edition.has_scores:
        totals = [
            *((SCORES[its], lambda row, its=its: row.scores.get(its)) for its in edition.main.weights),
            ("Score_Final", lambda row: row.places[edition.main.name].total if row.places else None),
        ]
        figures += [Figure(title.lower(), title, "", 4, 1, False, wraps=True, of=of) for title, of in totals]
    return figures


def rank_text(place: Place | None) -> str:
    """Return a rank, or the range of ranks that is possible; the baseline has none."""
    if place is None or (place.rank is None and place.total is None):
        return NONE
    if place.rank is None:
        return "base"
    first, last = place.interval or (place.rank, place.rank)
    return str(first) if first == last else f"{first}-{last}"


def _gate_text(row: Row, rule: str) -> str:
    if not row.verdicts:
        return NONE
    return "pass" if all(getattr(verdict, rule) for verdict in row.verdicts) else "below"


_GATES = (
    Figure("gate_rounded", "Gate rounded", wraps=True, of=lambda row: _gate_text(row, "rounded")),
    Figure("gate_strict", "Gate strict", wraps=True, of=lambda row: _gate_text(row, "strict")),
)


def main_table(ranking: Ranking) -> Table:
    """Return the main ranking; the least figures of ranked rows are marked."""
    main = ranking.edition.main.name
    kind = interval_kind(ranking, main)
    title = f"Rank [{kind}]" if kind else "Rank"
    rank = Figure("rank", title, wraps=True, of=lambda row: rank_text(row.places.get(main)))
    ranked = [row.has_place and not row.is_baseline for row in ranking.rows]
    return Table.about([rank, NAME, *_GATES, *_figures(ranking)], ranking.rows).marked(judged=ranked)


def track_table(ranking: Ranking) -> Table:
    """Return the ranks in the other tracks; a star where a figure is worse than the baseline's."""

    def starred(row: Row, track: str) -> str:
        place = row.places.get(track)
        return rank_text(place) + ("*" if place and place.worse else "")

    names = [track.name for track in ranking.edition.tracks[1:]]
    tracks = [Figure(name, name, wraps=True, of=lambda row, name=name: starred(row, name)) for name in names]
    return Table.about([NAME, *tracks], ranking.rows)


def terminal_tables(scored: Scored) -> list[rich.table.Table]:
    """Return the main ranking in two tables that fit a narrow terminal, and the other tracks, if there are any."""
    main = main_table(scored.ranking)
    keys = [column.key for column in main.columns if column.key not in ("rank", NAME.key)]
    scores = [key for key in keys if key.startswith("score_")]
    first = scores or [key for key in keys if key.startswith(("gate_", "psnr_"))]
    others = [key for key in keys if key not in first]
    tables = [main.chosen(["rank", NAME.key, *first]), main.chosen([NAME.key, *others])]
    if len(scored.ranking.edition.tracks) > 1:
        tables.append(track_table(scored.ranking))
    return [to_terminal(table, collapse_padding=True) for table in tables]


def markdown(scored: Scored) -> str:
    """Return the tables as GitHub tables, and the notes."""
    ranking = scored.ranking
    parts = [f"# Ranking by the rules of {ranking.edition.year}", f"## {ranking.edition.main.name}"]
    parts.append(to_markdown(main_table(ranking)))
    if len(ranking.edition.tracks) > 1:
        parts += ["## Sub-tracks", to_markdown(track_table(ranking))]
    return "\n\n".join([*parts, "\n".join(f"- {markdown_text(note)}" for note in notes(scored))]) + "\n"


def csv_table(scored: Scored) -> str:
    """Return one line a model: unrounded figures in base units, ranks with their intervals, and gates."""
    ranking = scored.ranking
    described = (
        Figure("model", "", of=lambda row: row.entry.label),
        Figure("weights", "", of=lambda row: row.entry.weights),
        Figure("edition", "", of=lambda _row: ranking.edition.year),
        Figure("device", "", of=lambda row: row.entry.device),
        Figure("rank_intervals", "", of=lambda _row: interval_kind(ranking)),
    )
    names = [track.name for track in ranking.edition.tracks]
    places = [_PlaceFigure(name, "", of=lambda row, name=name: row.places.get(name)) for name in names]
    return to_csv(Table.unrounded((*described, *_GATES, *_figures(ranking), *places), ranking.rows))


class _PlaceFigure(Figure):
    """What a row has in one track: six figures in CSV."""

    def csv(self, item: Row) -> dict[str, Value]:
        """Return rank, its interval, total, the figures that are worse than the baseline's, and those left open."""
        place: Place | None = self.of(item)
        cells: dict[str, Value] = dict.fromkeys(("rank", "first", "last", "total", "worse", "left_open"))
        if place:
            first, last = place.interval or (None, None)
            cells |= {"rank": place.rank, "first": first, "last": last, "total": place.total}
            cells |= {"worse": " ".join(place.worse), "left_open": " ".join(place.left_open)}
        return {f"{what}: {self.key}": value for what, value in cells.items()}


def latex_table(scored: Scored) -> str:
    """Return the main ranking as a booktabs table."""
    return to_latex(main_table(scored.ranking)) + "\n"


def write(scored: Scored, folder: Path) -> list[Path]:
    """Write score.md, score.csv and score.tex."""
    contents = {"score.md": markdown(scored), "score.csv": csv_table(scored), "score.tex": latex_table(scored)}
    return write_files(folder, contents)
