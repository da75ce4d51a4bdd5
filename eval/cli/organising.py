"""Commands for organisers: data is audited, editions are written, and a challenge is hosted."""

from pathlib import Path
from typing import Annotated

import typer

from eval.cli.program import FAILURE_EXIT
from eval.errors import UsageError


def audit_data(
    folder: Annotated[Path, typer.Argument(help="A set of HR and LR images, or a folder of several.")],
    against: Annotated[
        list[Path] | None, typer.Option("--against", help="A folder whose pictures must not be in it; may be repeated.")
    ] = None,
) -> None:
    """Say which program made LR images, and which images are misaligned, swapped, recompressed, doubled or leaked."""
    from eval.cli.data_audit import show_audit

    if show_audit(folder, against or []):
        raise typer.Exit(FAILURE_EXIT)


def new_edition(
    year: Annotated[int, typer.Argument(min=2000, help="Of the new edition.")],
    source: Annotated[int, typer.Option("--from", help="Year whose rules it begins with.")] = 2026,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; edition-YEAR.toml if absent.")] = None,
) -> None:
    """Write the rules of an edition of one's own as a file, for --edition FILE.toml; next year's need no release."""
    from eval.files import atomic_path
    from eval.ranking.editions import edition_text

    path = out or Path(f"edition-{year}.toml")
    text = edition_text(year, source)
    if path.exists():
        raise UsageError(f"{path}: exists already; remove it, or name another by --out")
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
    typer.echo(f"{path}: the rules of {source} as those of {year}; change baseline, gates and tracks")
    typer.echo(f"use it: python -m eval score RECORDS --edition {path}, and with check, report, audit, host")
