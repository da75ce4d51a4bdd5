"""Commands for organisers: data is audited, editions are written, and a challenge is hosted."""

from pathlib import Path
from typing import Annotated

import typer

from eval.cli.program import FAILURE_EXIT


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
