"""``python -m eval audit-data``: what is wrong with image sets."""

from pathlib import Path
from typing import Annotated

import typer

from eval.cli.program import FAILURE_EXIT
from eval.cli.terminal import Terminal
from eval.report.renderers import to_terminal
from eval.report.table import Column, Table
from eval.submission.audit_data import AuditedSet, audit_set, leaks, locate, tally
from eval.words import counted


def audit_data(
    folder: Annotated[Path, typer.Argument(help="A set of HR and LR images, or a folder of several.")],
    against: Annotated[
        list[Path] | None, typer.Option("--against", help="A folder whose pictures must not be in it; may be repeated.")
    ] = None,
) -> None:
    """Say which program made LR images, and which images are misaligned, swapped, recompressed, doubled or leaked."""
    terminal = Terminal()
    located, others = locate(folder), [its for other in against or () for its in locate(other)]
    total = sum(len(its.pairs) for its in [*located, *others])
    with terminal.progress("audit", total) as progress:
        audited = [audit_set(its, progress) for its in located]
        known = [audit_set(its, progress) for its in others]
    for its in audited:
        _show(its, terminal)
    leaked = leaks(audited, known)
    for sentence in leaked:
        terminal.say(f"leak: {sentence}")
    unseen = [fault for its in known for fault in its.unseen]
    for fault in unseen:
        terminal.say(f"not compared: {fault}")
    if against and not leaked:
        terminal.say("no picture of it is in the other folders" + ", as far as they could be compared" * bool(unseen))
    if leaked or unseen or any(its.faults or any(image.faults for image in its.images) for its in audited):
        raise typer.Exit(FAILURE_EXIT)


def _show(audited: AuditedSet, terminal: Terminal) -> None:
    terminal.say(f"{audited.name}: {counted(len(audited.images), 'image')}, layout: {audited.layout}")
    titles = ("Image", "LR made by", "What is wrong")
    rows = [(its.name, its.made_by, "; ".join(its.faults) or None) for its in audited.images]
    terminal.show(to_terminal(Table.headed(titles, rows, 3), overflow="fold"))
    counts = (
        Column("generator", "Generator", left=True),
        Column("exact", "Exact"),
        Column("largest", "Largest difference"),
        Column("share", "Differing samples", "%", 2, scale=0.01),
    )
    if tallied := tally(audited.images):
        terminal.show(to_terminal(Table.of(counts, tallied)))
    for fault in audited.faults:
        terminal.say(fault)
