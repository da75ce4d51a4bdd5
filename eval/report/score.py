"""A ranking for the terminal, Markdown, CSV and LaTeX, with what must be known to read it."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from eval.ranking.editions import Metric
from eval.ranking.scoring import Place, Ranking, Row
from eval.report.columns import visible
from eval.report.latex import booktabs, figure, latex, ruled
from eval.report.score_notes import SCORES, UNITS, Scored, interval_kind, name_of, notes, total_text
from eval.report.tables import inert, markdown_text, write_files

NONE = "-"
# Private characters stand for marks until LaTeX's and Markdown's own characters have been escaped.
_BEST, _SECOND = ("\ue000", "\ue001"), ("\ue002", "\ue003")
_LATEX_MARKS = str.maketrans(dict(zip((*_BEST, *_SECOND), (r"\textbf{", "}", r"\underline{", "}"), strict=True)))
_MARKDOWN_MARKS = str.maketrans(dict(zip((*_BEST, *_SECOND), ("**", "**", "*", "*"), strict=True)))


@dataclass(frozen=True)
class _Column:
    """One column of figures; ``marked`` where the least figure is the best one."""

    key: str
    title: str
    unit: str
    value: Callable[[Row], float | None]
    decimals: int
    scale: float = 1
    marked: bool = True

    def text(self, row: Row) -> str:
        """Return the rounded figure, or a dash."""
        value = self.value(row)
        return total_text(None if value is None else value / self.scale, self.decimals)


def _figure(metric: Metric) -> Callable[[Row], float | None]:
    return lambda row: getattr(row.entry, metric)


def _psnr(key: str) -> Callable[[Row], float | None]:
    return lambda row: row.entry.psnr_db.get(key)


def _score(metric: Metric) -> Callable[[Row], float | None]:
    return lambda row: row.scores.get(metric)


def _total(track: str) -> Callable[[Row], float | None]:
    return lambda row: row.places[track].total if track in row.places else None


def _columns(ranking: Ranking) -> list[_Column]:
    edition = ranking.edition
    metrics = list(dict.fromkeys(metric for track in edition.tracks for metric in track.metrics))
    keys = list(dict.fromkeys(key for row in ranking.rows for key in row.entry.psnr_db))
    columns = [_Column(f"psnr_{key}_db", f"PSNR {visible(key)}", "dB", _psnr(key), 2, marked=False) for key in keys]
    for metric in metrics:
        title, unit, decimals, scale = UNITS[metric]
        columns.append(_Column(metric, title, unit, _figure(metric), decimals, scale))
    if edition.has_scores:
        scores = ((SCORES[metric], _score(metric)) for metric in edition.main.weights)
        for title, value in (*scores, ("Score_Final", _total(edition.main.name))):
            columns.append(_Column(title.lower(), title, "", value, 4))
    return columns


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


def _cells(ranking: Ranking, marks: bool) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the main ranking; best and second figures of ranked rows marked if asked for."""
    columns = _columns(ranking)
    kind = interval_kind(ranking)
    headings = [f"Rank [{kind}]" if kind else "Rank", "Model", "Gate rounded", "Gate strict"]
    headings += [f"{column.title} [{column.unit}]" if column.unit else column.title for column in columns]
    figures = zip(*(_texts(column, ranking, marks) for column in columns), strict=True)
    rows = []
    for row, texts in zip(ranking.rows, figures, strict=True):
        place = row.places.get(ranking.edition.main.name)
        gates = (_gate_text(row, rule) for rule in ("rounded", "strict"))
        rows.append([rank_text(place), name_of(row), *gates, *texts])
    return headings, rows


def _texts(column: _Column, ranking: Ranking, marks: bool) -> list[str]:
    """Return a column's cells; among ranked rows the least figure and the next one are marked if asked for."""
    ranked = [row.has_place and not row.is_baseline for row in ranking.rows]
    values = sorted(
        {column.value(row) for row, takes_part in zip(ranking.rows, ranked, strict=True) if takes_part} - {None}
    )
    marked = dict(zip(values, (_BEST, _SECOND), strict=False)) if marks and column.marked else {}
    texts = []
    for row, takes_part in zip(ranking.rows, ranked, strict=True):
        before, after = marked.get(column.value(row), ("", "")) if takes_part else ("", "")
        texts.append(f"{before}{column.text(row)}{after}")
    return texts


def _track_cells(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the other tracks; a star where a figure is worse than the baseline's."""
    tracks = ranking.edition.tracks[1:]
    rows = []
    for row in ranking.rows:
        places = [row.places.get(track.name) for track in tracks]
        starred = [rank_text(place) + ("*" if place and place.worse else "") for place in places]
        rows.append([name_of(row), *starred])
    return ["Model", *(track.name for track in tracks)], rows


def terminal_tables(scored: Scored) -> list[Table]:
    """Return the main ranking in two tables that fit a narrow terminal, and the other tracks."""
    headings, rows = _cells(scored.ranking, marks=False)
    scores = [index for index, heading in enumerate(headings) if heading.startswith("Score_")]
    first = scores or [index for index, heading in enumerate(headings) if heading.startswith(("Gate", "PSNR"))]
    others = [index for index in range(2, len(headings)) if index not in first]
    parts = [[0, 1, *first], [1, *others]]
    tables = [([headings[i] for i in part], [[row[i] for i in part] for row in rows]) for part in parts]
    return [_terminal(*table) for table in (*tables, _track_cells(scored.ranking))]


def _terminal(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for heading in headings:
        broken = heading.replace(" [", "\n[").replace("_", "_\n").replace("Gate ", "Gate\n")
        is_name = heading == "Model"
        table.add_column(Text(broken), justify="left" if is_name else "right", no_wrap=is_name)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def markdown(scored: Scored) -> str:
    """Return both tables as GitHub tables, best figures bold and second ones in italics, and the notes."""
    edition = scored.ranking.edition
    main, others = _cells(scored.ranking, marks=True), _track_cells(scored.ranking)
    parts = [f"# Ranking by the rules of {edition.year}", f"## {edition.main.name}", _pipe(*main)]
    parts += ["## Sub-tracks", _pipe(*others), "\n".join(f"- {markdown_text(note)}" for note in notes(scored))]
    return "\n\n".join(parts) + "\n"


def _pipe(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[markdown_text(cell) for cell in row] for row in rows]
    aligned = ["left" if heading == "Model" else "right" for heading in headings]
    headers = [markdown_text(heading) for heading in headings]
    table = tabulate(escaped, headers, tablefmt="pipe", disable_numparse=True, colalign=aligned)
    return table.translate(_MARKDOWN_MARKS)


def latex_table(scored: Scored) -> str:
    """Return the main ranking as a booktabs table, best figures bold and second ones underlined."""
    headings, rows = _cells(scored.ranking, marks=True)
    name = headings.index("Model")
    cells = [[latex(cell) if column == name else figure(cell) for column, cell in enumerate(row)] for row in rows]
    table = ruled(booktabs([latex(heading) for heading in headings], cells, left=name))
    return table.translate(_LATEX_MARKS) + "\n"


def csv_table(scored: Scored) -> str:
    """Return one line a model: unrounded figures in base units, ranks with their intervals, and gates."""
    ranking = scored.ranking
    columns, tracks = _columns(ranking), ranking.edition.tracks
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = [f"{what}: {track.name}" for track in tracks for what in ("rank", "first", "last", "total", "worse")]
    writer.writerow(
        [
            "model",
            "edition",
            "device",
            "rank_intervals",
            "gate_rounded",
            "gate_strict",
            *(inert(visible(column.key)) for column in columns),
            *names,
        ]
    )
    for row in ranking.rows:
        start = [inert(visible(row.entry.label)), ranking.edition.year, inert(visible(row.entry.device))]
        start.append(interval_kind(ranking))
        gates = [_gate_text(row, rule) for rule in ("rounded", "strict")]
        places = [cell for track in tracks for cell in _place_cells(row.places.get(track.name))]
        writer.writerow([*start, *gates, *(column.value(row) for column in columns), *places])
    return buffer.getvalue()


def _place_cells(place: Place | None) -> list:
    if place is None:
        return [None] * 5
    return [place.rank, *(place.interval or (None, None)), place.total, " ".join(place.worse)]


def write(scored: Scored, folder: Path) -> list[Path]:
    """Write score.md, score.csv and score.tex."""
    contents = {"score.md": markdown(scored), "score.csv": csv_table(scored), "score.tex": latex_table(scored)}
    return write_files(folder, contents)
