"""Commands for organisers: editions are written, and a challenge is hosted."""

from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from eval.cli.flags import EditionFlag, writable
from eval.errors import UsageError
from eval.files import why_unwritable, write_whole
from eval.ranking.editions import NEWEST, all_editions, edition_text, find_edition


def new_edition(
    year: Annotated[int, typer.Argument(min=2000, help="Year of the new edition.")],
    source: Annotated[
        int | None, typer.Option("--from", help="Year whose rules are copied. Default: the newest.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write, FILE.toml; edition-YEAR.toml if absent.")
    ] = None,
) -> None:
    """Write the rules of a new edition to a file that you can change and use with --edition FILE.toml."""
    path = out or Path(f"edition-{year}.toml")
    if not str(path).endswith(".toml"):
        raise UsageError(
            f"--out {path}: expected a name that ends in .toml, by which --edition knows a file from a year"
        )
    if reason := why_unwritable(path.parent):
        raise UsageError(f"--out {path}: cannot be written: {reason}; name another file")
    source_year = find_edition(NEWEST).year if source is None else source
    if source_year not in all_editions():
        known = ", ".join(map(str, all_editions()))
        raise UsageError(f"--from {source_year}: no rules are known of that year; there are: {known}")
    text = edition_text(year, source_year)
    if path.exists():
        raise UsageError(f"{path}: exists already; remove it, or name another by --out")
    write_whole(path, text)
    typer.echo(f"{path}: the rules of {source_year} as those of {year}; change source, gpu, baseline, gates and tracks")
    typer.echo(
        f"use it: python -m eval score RECORDS --edition {quote(str(path))}; check, report, audit, host take it too"
    )


def host(
    folder: Annotated[Path, typer.Argument(help="Folder for the bundle's files.", callback=writable)],
    hr: Annotated[Path, typer.Option("--hr", help="Folder of HR images of the first phase, PNG; stays secret.")],
    test_hr: Annotated[
        Path | None, typer.Option("--test_hr", help="Folder of HR images of the second, final phase, if there is one.")
    ] = None,
    edition: EditionFlag = "newest",
    title: Annotated[str, typer.Option("--title", help="Title of the challenge.")] = "Efficient Super-Resolution, x4",
    start: Annotated[
        datetime | None,
        typer.Option("--start", formats=["%Y-%m-%d"], help="First day of the first phase. Default: today."),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, help="Length of the first phase in days.")] = 45,
    test_days: Annotated[int, typer.Option("--test_days", min=1, help="Length of the second phase in days.")] = 7,
    luma: Annotated[bool, typer.Option("--luma", help="Compare the Y channel instead of RGB.")] = False,
) -> None:
    """Write a challenge as a Codabench bundle, whose scorer gives a reason for every upload that it refuses."""
    from eval.submission.hosting import Challenge, Phase, notes, write_bundle

    first = Phase("Development", hr, (start or datetime.now()).date(), days)
    phases = (first, Phase("Final", test_hr, first.end, test_days)) if test_hr else (first,)
    challenge = Challenge(title, find_edition(edition, for_ranking=False), phases, luma)
    bundle = write_bundle(challenge, folder)
    for note in notes(challenge):
        typer.echo(note, err=note.startswith("warning"))
    typer.echo(f"{bundle}: {bundle.stat().st_size:,} bytes; upload it at Codabench, Benchmarks, Management, Upload")
    typer.echo(f"edit first: {', '.join(str(folder / name) for name in ('terms.md', 'data.md', 'competition.yaml'))}")
    typer.echo("then zip the files again, without a folder; try an upload of your own before you publish it")
