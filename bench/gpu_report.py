"""``make test-gpu``: prove the GPU path where a GPU is at hand, and write docs/results/gpu-<card>.md.

Each check has a process and a limit of its own, and the report is written after each: what was found out stays,
whatever happens to the next one. The exit code is 1 if a check is not as it must be.
"""

import multiprocessing
import re
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.gpu_checks import CHECKS, Row
from bench.gpu_template import CHECKOUT_CHECKS
from bench.gpu_training import TRAINING_CHECKS
from eval.cli.program import run_program
from eval.config import split
from eval.device.nvml import driver_version
from eval.device.placing import pick_device
from eval.errors import RunError, UsageError, one_reason
from eval.report.renderers import to_markdown
from eval.report.table import Table
from eval.run.environment import describe_environment, device_name
from eval.words import counted

_WORDS = {True: "right", False: "WRONG", None: ""}


def report(
    device: Annotated[str, typer.Option("--device", help="cuda, cuda:N, or cpu to rehearse.")] = "cuda",
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("docs/results"),
    only: Annotated[str | None, typer.Option("--only", help="Checks by name, separated by commas.")] = None,
    budget_s: Annotated[float, typer.Option("--budget_s", help="Seconds after which no further check begins.")] = 330,
    checkout: Annotated[Path | None, typer.Option("--checkout", help="A checkout of the challenge's 2024.")] = None,
) -> None:
    """Run the checks of a GPU one after another and write what they show."""
    checks = CHECKS | TRAINING_CHECKS
    if checkout is not None:
        checks |= {name: (partial(check, checkout=checkout), s) for name, (check, s) in CHECKOUT_CHECKS.items()}
    where, names = pick_device(device), split(only) or list(checks)
    if unknown := [name for name in names if name not in checks]:
        raise UsageError(f"--only {', '.join(unknown)}: no such check; there are {', '.join(checks)}")
    path = out / f"gpu-{re.sub(r'[^a-z0-9]+', '-', device_name(where).lower()).strip('-')}.md"
    started_s, rows = time.monotonic(), {}
    for name in names:
        began_s = time.monotonic()
        left_s = budget_s - (began_s - started_s)
        found = _found(checks[name], where, left_s) if left_s > 0 else [Row("not begun", "the time was over")]
        rows[name] = [*found, Row("took", f"{time.monotonic() - began_s:.0f} s")]
        for row in rows[name]:
            typer.echo(f"{name:<14}{_WORDS[row.right]:<6} {row.what}: {row.came}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_page(where, rows), encoding="utf-8")
    typer.echo(f"{path}")
    if wrong := sum(row.right is False for its in rows.values() for row in its):
        raise RunError(
            f"{counted(wrong, 'row')} must be otherwise; each is a lead: write a test that fails, and mend it"
        )


def _found(checked: tuple[Callable, int], device: torch.device, left_s: float) -> list[Row]:
    """Return the rows of a check that runs in a process of its own, as far as it comes."""
    check, limit_s = checked
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, check, device))
    process.start()
    theirs.close()
    rows, deadline_s = [], time.monotonic() + min(limit_s, left_s)
    try:
        while ours.poll(max(deadline_s - time.monotonic(), 0)):
            rows.append(ours.recv())
        rows.append(Row("ended", f"not within {min(limit_s, left_s):.0f} s", False))
    except EOFError:
        process.join()
        if process.exitcode:
            rows.append(Row("ended", f"exit code {process.exitcode}", False))
    finally:
        process.kill()
        process.join()
    return rows or [Row("nothing to check", f"on {device}", None)]


def _serve(connection: Connection, check: Callable, device: torch.device) -> None:
    try:
        for row in check(device):
            connection.send(row)
    except Exception as error:
        connection.send(Row("could not be checked", one_reason(error), False))
    connection.close()


def _page(device: torch.device, rows: dict[str, list[Row]]) -> str:
    environment = describe_environment(device)
    versions = f"torch {environment.torch}, CUDA {environment.cuda}, cuDNN {environment.cudnn}"
    lines = [
        f"# Checks on {device_name(device)}",
        f"`make test-gpu` on {date.today()}: driver {driver_version()}, {versions}, Python {environment.python}, "
        f"commit {environment.commit or 'unknown'}. WRONG is a lead, not yet a verdict.",
    ]
    table = [(name, row.what, row.came, _WORDS[row.right]) for name, its in rows.items() for row in its]
    lines.append(to_markdown(Table.headed(("Check", "What", "Came", ""), table, 4)))
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    run_program(report)
