"""An audit for the terminal, as Markdown and as JSON."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import rich.table

from eval.intervals import signed
from eval.ranking.audit import DROPPED, INPUT_SIDE, Audit, Neighbours
from eval.ranking.editions import Edition
from eval.ranking.scoring import Ranking
from eval.report.audits.as_json import as_json
from eval.report.audits.findings import ONE_PASS, cold_share, findings, name
from eval.report.escapes import markdown_text
from eval.report.renderers import to_markdown, to_terminal
from eval.report.score import rank_text
from eval.report.table import NONE, Table, number
from eval.report.tables import write_files
from eval.report.template import TemplateRow, template_table

MOST_SHOWN = 60
_NOT_RANKED = "A dash: below the gate as printed."


@dataclass(frozen=True)
class Section:
    """One table, its title and what it is about."""

    title: str
    about: str
    table: Table


def recomputed_table(audit: Audit) -> str:
    """Return the template's results.txt, computed from the values of each image."""
    rows: dict[str, list[TemplateRow]] = {"valid": [], "test": []}
    for label, its in audit.results.items():
        costs = (its.num_parameters * 1e6, its.flops * 1e9, its.activations * 1e6, its.valid_memory, its.num_conv)
        for role in its.roles:
            psnr_db = its.mean_db(role) if role in its.psnr_roles else None
            rows[role].append(TemplateRow(label, psnr_db, its.mean_ms(role), *costs))
    return template_table(rows["valid"], rows["test"] or None)


def sections(audit: Audit) -> list[Section]:
    """Return the audit's tables."""
    found = [_cold_section(audit), _rank_section(audit)]
    if audit.edition and any(audit.verdicts.values()):
        found.append(_gate_section(audit, audit.edition))
    found.append(_bound_section(audit))
    if audit.ranking:
        about = f"Total of the main track, and ranks, from the published baseline's figures. {_NOT_RANKED}"
        found.append(_score_section(f"By the rules of {audit.ranking.edition.year}", about, audit.ranking))
    if audit.at_bound:
        about = f"The same, had the flagged models the bound's FLOPs. {_NOT_RANKED}"
        found.append(_score_section("With FLOPs at the bound", about, audit.at_bound))
    if times := [pair for pair in audit.neighbours if pair.figure == "runtime_ms"]:
        about = f"In the published order, differences without the first image. {ONE_PASS}"
        found.append(_neighbour_section("Neighbours in time [ms]", about, times))
    if psnrs := [pair for pair in audit.neighbours if pair.figure == "psnr_db"]:
        found.append(_neighbour_section("Neighbours in PSNR [dB]", "In the order of each set.", psnrs))
    return found


def _cold_section(audit: Audit) -> Section:
    rows = []
    for label, result in audit.results.items():
        for role in result.roles:
            mean, warm = result.mean_ms(role), result.warm_ms(role, 1)
            share = f"{cold_share(mean, warm):.1%}".replace("-0.0%", "0.0%") if warm else NONE
            times = (result.runtimes(role)[0], *(result.warm_ms(role, dropped) for dropped in DROPPED))
            rows.append([name(label), role, *map(number, times), share])
    headings = ("Model", "Set", "First [ms]", "Mean [ms]", "without 1", "without 10", "Share of first")
    about = "What the first image adds to the mean of the others."
    return Section("Cold start", about, Table.headed(headings, rows, 2))


def _rank_section(audit: Audit) -> Section:
    rows = []
    for label in sorted(audit.results, key=lambda label: audit.results[label].average_ms(audit.roles)):
        speed = audit.speeds[label]
        cells = [(number(speed.mean_ms[dropped]), str(speed.rank[dropped] or NONE)) for dropped in DROPPED]
        rows.append([name(label), *chain(*cells)])
    headings = ("Model", "Time [ms]", "Rank", "without 1", "Rank", "without 10", "Rank")
    about = f"Mean of {' and '.join(audit.roles)}, all models, gated ones too."
    return Section("Time and rank without first images", about, Table.headed(headings, rows, 1))


def _gate_section(audit: Audit, edition: Edition) -> Section:
    rows = [
        [name(label), verdict.role, verdict.psnr, verdict.least]
        + ["pass" if passes else "below" for passes in (verdict.rounded, verdict.strict)]
        for label, verdicts in audit.verdicts.items()
        for verdict in verdicts
    ]
    headings = ("Model", "Set", "PSNR [dB]", "Least", "As printed", "Unrounded")
    counts = sorted({verdict.decimals for verdicts in audit.verdicts.values() for verdict in verdicts})
    about = f"The challenge compares {' or '.join(map(_decimals, counts))}."
    return Section(f"Gate of {edition.year}", about, Table.headed(headings, rows, 2))


def _decimals(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return f"{words[count]} decimal{'s' * (count != 1)}"


def _bound_section(audit: Audit) -> Section:
    rows = []
    for label, result in audit.results.items():
        bound = result.num_parameters * INPUT_SIDE**2 / 1e3
        share = f"{result.flops / bound:.2f}" if bound else NONE
        flag = "low" if label in audit.undercounts else ""
        rows.append([name(label), f"{result.flops:.2f}", f"{bound:.2f}", share, flag])
    about = "The bound is each parameter used once at each of 256 x 256 positions."
    headings = ("Model", "FLOPs [G]", "Bound [G]", "Ratio", "Flag")
    return Section("FLOPs against the bound", about, Table.headed(headings, rows, 1))


def _score_section(title: str, about: str, ranking: Ranking) -> Section:
    tracks = [track.name for track in ranking.edition.tracks]
    rows = []
    for row in ranking.rows:
        total = number(row.places[tracks[0]].total if row.has_place else None)
        rows.append([name(row.entry.label), total, *(rank_text(row.places.get(track)) for track in tracks)])
    headings = ("Model", "Total", *(track.partition(": ")[2] or track for track in tracks))
    return Section(title, about, Table.headed(headings, rows, 1))


def _neighbour_section(title: str, about: str, pairs: Sequence[Neighbours]) -> Section:
    rows = []
    for pair in pairs:
        cells = [name(pair.first), name(pair.second), pair.role, signed(pair.gap)]
        rows.append([*cells, *pair.difference.texts(0, "+"), pair.verdict])
    headings = ("First", "Second", "Set", "Gap of means", "Difference", "95% interval", "Order")
    return Section(title, f"Second less first, image by image. {about}", Table.headed(headings, rows, 3))


def terminal_tables(audit: Audit) -> list[tuple[str, rich.table.Table]]:
    """Return each section's title and table; long ones are cut, the files hold all."""
    return [(f"{section.title}. {section.about}", _terminal(section.table)) for section in sections(audit)]


def _terminal(table: Table) -> rich.table.Table:
    more = len(table.rows) - MOST_SHOWN
    caption = f"{more} more rows" if more > 0 else None
    return to_terminal(Table(table.columns, table.rows[:MOST_SHOWN]), "fold", collapse_padding=True, caption=caption)


def markdown(audit: Audit) -> str:
    """Return the findings, the recomputed table, and all sections."""
    parts = [f"# Audit of {markdown_text(audit.source)}"]
    parts.append("\n".join(f"- {markdown_text(finding)}" for finding in findings(audit)))
    table = recomputed_table(audit)
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", table))]))
    parts += ["## The table, recomputed from the values of each image", f"{fence}text\n{table}{fence}"]
    for its in sections(audit):
        parts += [f"## {markdown_text(its.title)}", markdown_text(its.about), to_markdown(its.table)]
    return "\n\n".join(parts) + "\n"


def write(audit: Audit, folder: Path) -> list[Path]:
    """Write audit.md and audit.json."""
    return write_files(folder, {"audit.md": markdown(audit), "audit.json": as_json(audit)})
