"""Commands that read records and published results; they run no model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from eval.cli.flags import DEFAULT_SAVE_DIR, EditionFlag, out, some
from eval.cli.program import check_installed
from eval.cli.terminal import Terminal
from eval.config import split
from eval.errors import RunError, UsageError
from eval.ranking.audit import audit as audit_results
from eval.ranking.audit import undercounts_of
from eval.ranking.editions import Edition, find_edition
from eval.ranking.entries import Measured, measured_baseline, published_baseline
from eval.ranking.from_records import entries_from, select
from eval.ranking.from_results_json import is_beyond, is_published, measured_from, other_sizes, read_results, size_words
from eval.ranking.gates import GateRule
from eval.ranking.scoring import rank
from eval.records.current import complete_ones, current, failures, found_and_used
from eval.records.record import Protocol
from eval.records.store import find_records
from eval.report import score as score_report
from eval.report.audits import tables as audit_report
from eval.report.audits.beside import differences
from eval.report.audits.findings import doubts, undercount_words
from eval.report.board import headlines_of
from eval.report.page.gallery import image_roots
from eval.report.page.writing import PageOptions, gather, write_page
from eval.report.papers.challenge_table import challenge_tables
from eval.report.papers.factsheet import factsheet as factsheet_report
from eval.report.papers.factsheet_facts import read_steps, read_team
from eval.report.papers.former import CHALLENGE_TABLE, former_files
from eval.report.tables import write_files, write_report
from eval.words import counted

_RECORDS_HELP = "Read these records: files, folders of them, or folders given as --save_dir."


def report(
    records: Annotated[list[Path], typer.Argument(help=_RECORDS_HELP)],
    save_dir: Annotated[
        Path, out("Write index.html, leaderboard.md, .csv and .tex to this folder.")
    ] = DEFAULT_SAVE_DIR,
    edition: Annotated[
        str | None,
        typer.Option(
            "--edition",
            help="Year, or FILE.toml, whose scores are used. Default: all years whose baseline is among the records.",
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Title of the page.")] = PageOptions.title,
    megabytes: Annotated[
        float, typer.Option("--megabytes", min=1, help="How many megabytes the page's pictures may take.")
    ] = PageOptions.megabytes,
    latex: Annotated[
        bool, typer.Option("--latex", help="Write tables in the form of the challenge's report: challenge.tex.")
    ] = False,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures", help="Write figures/: PDF and PNG files that are one column wide, instead of former ones."
        ),
    ] = False,
) -> None:
    """Write tables and a web page from the newest complete record of each model, set, protocol and device."""
    check_installed("plotly", *(["matplotlib"] if figures else []))
    rules = None if edition is None else find_edition(edition)
    found = find_records(records)
    if not complete_ones(current(found)):
        raise RunError(f"{', '.join(map(str, records))}: no complete record; run models first, with --save_dir FOLDER")
    terminal = Terminal()
    terminal.say(f"records  {found_and_used(found)}")
    options = PageOptions(rules, title, image_roots(records), megabytes, terminal.progress)
    content = gather(found, options)
    for board in content.boards:
        rows = board.records
        terminal.say(f"\n{board.conditions.title.replace(' · ', ', ')}, {counted(rows[0].dataset.num_images, 'image')}")
        terminal.headline(board.headline)
        if finished := [row for row in rows if row.complete]:
            terminal.table(finished)
    terminal.not_run(failures(found))
    paths = [*write_report(found, save_dir, headlines_of(content.boards)), write_page(content, save_dir, options)]
    if latex:
        paths += write_files(save_dir, {CHALLENGE_TABLE: challenge_tables(content.boards)})
    if figures:
        from eval.report.papers.figures import write_figures

        paths += write_figures(content.boards, content.comparisons, save_dir, terminal.say)
    terminal.say(f"written: {', '.join(map(str, paths))}")
    if former := former_files(save_dir, paths):
        terminal.say(f"of a former report, not written anew: {', '.join(map(str, former))}")


def factsheet(
    team: Annotated[Path, typer.Argument(help="Read the team's facts from this file, as in team_bsr/team.toml.")],
    records: Annotated[list[Path], typer.Argument(help=_RECORDS_HELP)],
    save_dir: Annotated[Path, out("Write factsheet.tex to this folder.")] = DEFAULT_SAVE_DIR,
) -> None:
    """Fill a factsheet in LaTeX: the team's own words, its recipe, and what was measured."""
    facts = read_team(team)
    steps = read_steps(team.parent / facts.training.recipe)
    paths = write_files(save_dir, {"factsheet.tex": factsheet_report(facts, steps, find_records(records))})
    Terminal().say(f"written: {paths[0]}")


def score(
    records: Annotated[list[Path], typer.Argument(help=f"{_RECORDS_HELP} Or one published results.json.")],
    edition: EditionFlag,
    gate: Annotated[
        GateRule, typer.Option("--gate", help="Compare PSNR with the gate as printed (rounded) or unrounded (strict).")
    ] = "rounded",
    baseline: Annotated[
        Literal["measured", "published"],
        typer.Option("--baseline", help="Take the baseline's figures as measured here, or as published."),
    ] = "measured",
    datasets: Annotated[
        str | None, typer.Option("--datasets", help="Use only records of these sets.", callback=some)
    ] = None,
    protocol: Annotated[Protocol | None, typer.Option("--protocol", help="Use only records of this protocol.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Use only records of this device: cpu, cuda, or part of a name.")
    ] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Use only records of this engine.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="Use only records of this precision.")] = None,
    simultaneous: Annotated[
        bool, typer.Option("--simultaneous", help="Give ranges of ranks that hold for all models together.")
    ] = False,
    save_dir: Annotated[Path, out("Write score.md, .csv and .tex to this folder.")] = DEFAULT_SAVE_DIR,
) -> None:
    """Rank models by the challenge's rules: gates, scores, main track, sub-tracks, and intervals of the ranks."""
    rules = find_edition(edition)
    filters = {"datasets": datasets, "protocol": protocol, "device": device, "engine": engine, "precision": precision}
    measured = _published(records, rules, filters) or _measured(records, rules, **filters)
    published = baseline == "published"
    reference = published_baseline(rules, measured.roles) if published else measured_baseline(measured, rules)
    scored = score_report.Scored(rank(measured.entries, rules, reference, gate, simultaneous), measured)
    terminal = Terminal()
    for table in score_report.terminal_tables(scored):
        terminal.show(table)
    for note in score_report.notes(scored):
        terminal.say(note)
    terminal.say(f"written: {', '.join(map(str, score_report.write(scored, save_dir)))}")


def _published(places: Sequence[Path], rules: Edition, filters: Mapping[str, str | None]) -> Measured | None:
    """Return what a published results.json holds; None where records are given.

    Raises:
        UsageError: it stands beside others, or filters are given.
        RunError: it cannot be read, or has more images than the edition's set.
    """
    files = [path for path in places if is_published(path)]
    if not files:
        return None
    typed = [f"--{name}" for name, value in filters.items() if value is not None]
    if len(places) > 1 or typed:
        what = f"cannot be filtered; leave {', '.join(typed)} out" if typed else "must be the only argument"
        raise UsageError(f"{files[0]}: a published results.json {what}")
    results = read_results(files[0])
    sizes = other_sizes(results, rules)
    words = tuple(size_words(role, its, rules) for role, its in sizes.items())
    if is_beyond(sizes):
        raise RunError(f"{files[0]}: {'; '.join(words)}; `eval audit` tells what is in it")
    measured = measured_from(results)
    low = undercounts_of(results)
    notes = (*words, *doubts(results, rules), *([undercount_words(low)] if low else []))
    return replace(measured, notes=(*measured.notes, *notes))


def _measured(
    places: Sequence[Path], rules: Edition, datasets: str | None, device: str | None, **settings: str | None
) -> Measured:
    """Return what the records that count hold, of those that are asked for."""
    chosen = current(select(find_records(places), split(datasets), device, **settings))
    return entries_from([row for _, rows in chosen for row in rows], rules)


def audit(
    file: Annotated[Path, typer.Argument(help="Read this file, the results.json of the challenge's test_demo.py.")],
    edition: Annotated[
        str | None,
        typer.Option(
            "--edition",
            help="Year, or FILE.toml, whose gates and scores are used. Default: detected from the file's baseline.",
        ),
    ] = None,
    save_dir: Annotated[Path, out("Write audit.md and audit.json to this folder.")] = DEFAULT_SAVE_DIR,
) -> None:
    """Report what a published results.json does not show: cold starts, rounded gates, uncounted FLOPs, open orders."""
    rules = None if edition is None else find_edition(edition, for_ranking=False)
    found = audit_results(file.name, read_results(file), rules)
    terminal = Terminal()
    typer.echo(audit_report.recomputed_table(found))
    for title, table in audit_report.terminal_tables(found):
        terminal.say(title)
        terminal.show(table)
    for finding in audit_report.findings(found):
        terminal.say(f"- {finding}")
    beside = file.with_name("results.txt")
    for difference in differences(beside, audit_report.recomputed_table(found)) if beside.is_file() else ():
        terminal.say(f"- {beside.name} beside it says something else: {difference}.")
    terminal.say(f"written: {', '.join(map(str, audit_report.write(found, save_dir)))}")
