"""The entries of 2022 to 2026 in one table: ``python -m bench.all_years --checkouts DIR --data_dir DIR``.

Runs what is not on record yet, pass by pass, each by a command ``python -m eval run`` of its own, and writes the page,
the CSV and the plot again after each one. The same command goes on where it was stopped.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer

from bench.all_years_page import write_page
from bench.all_years_rows import SET14, URBAN100, Edition, Year, gather, read_all
from eval.cli.flags import DataDir, Timeout
from eval.cli.program import USAGE_EXIT, run_program
from eval.config import split
from eval.errors import RunError, UsageError
from eval.files import PROJECT
from eval.records.record import Protocol
from eval.records.store import RECORDS_FOLDER, read_records
from eval.run.model_source import zoo_model
from eval.zoo.manifest import find_model

EDITIONS = Path(__file__).with_suffix(".toml")
REFERENCE = "RLFN"
# So many entries are timed together.
_TOGETHER = 10
STEPS = ("set14", "urban100", "times")


@dataclass(frozen=True)
class Pass:
    """One call of ``eval run``: entries of a year on one set, beside the reference."""

    edition: Edition
    ids: tuple[int, ...]
    dataset: str = SET14
    protocol: Protocol = Protocol.ACCURACY

    def words(self, places: "Places") -> list[str]:
        """Return the words of its command, behind ``python -m eval``."""
        checkout, ids = places.checkout(self.edition), ",".join(map(str, self.ids))
        words = ["run", "--checkout", str(checkout), f"--models={ids}", "--reference", REFERENCE]
        words += ["--dataset", self.dataset, "--protocol", self.protocol.value, "--threads", "1", "--no_images"]
        words += ["--save_dir", str(places.save_dir)]
        words += ["--data_dir", str(places.data_dir)] if places.data_dir else []
        return words + (["--timeout", f"{places.timeout_s:g}"] if places.timeout_s else [])


@dataclass(frozen=True)
class Places:
    """Where things are, and how long an entry may take over one image."""

    checkouts: Path
    save_dir: Path
    data_dir: Path | None
    timeout_s: float | None

    def checkout(self, edition: Edition) -> Path:
        """Return where the clone of an edition's repository is expected."""
        return self.checkouts / edition.checkout

    def years(self, editions: Sequence[Edition]) -> list[Year]:
        """Return what is known of each year by now."""
        records = read_records(self.save_dir / RECORDS_FOLDER)
        return [gather(its, self.checkout(its), records) for its in editions]


def main(
    checkouts: Annotated[
        Path,
        typer.Option(help="Find the clones of the repositories here, each under its own name, forks as OWNER-NAME."),
    ],
    data_dir: DataDir = None,
    save_dir: Annotated[Path, typer.Option("--save_dir", help="Write records here.")] = Path("results/all-years"),
    out: Annotated[Path, typer.Option("--out", help="Write all-years.md, .csv and .svg here.")] = Path("docs/results"),
    steps: Annotated[
        str, typer.Option("--steps", help="What runs: set14, urban100, times; 'none' writes the table alone.")
    ] = ",".join(STEPS),
    timeout: Timeout = None,
    editions: Annotated[Path, typer.Option("--editions", help="Read the editions from this file.")] = EDITIONS,
) -> None:
    """Run all entries of all years, as far as they are not on record, and write them as one table."""
    chosen = [] if steps == "none" else split(steps)
    if unknown := [step for step in chosen if step not in STEPS]:
        raise UsageError(f"--steps {','.join(unknown)}: no such step; there are {', '.join(STEPS)}, and none")
    rows = read_all(editions)
    places = Places(checkouts.resolve(), save_dir.resolve(), data_dir and data_dir.resolve(), timeout)
    for its in rows:
        if not places.checkout(its).is_dir():
            typer.echo(f"{its.year}: no checkout at {places.checkout(its)}: git clone {its.repository} {its.folder}")
    if chosen:
        # Said once, and not by every pass.
        zoo_model(find_model(REFERENCE))
    for step in chosen:
        # What a step needs of the one before it is known when it begins.
        for each in passes(step, places.years(rows)):
            carry_out(each, places)
            write_page(places.years(rows), out)
    for path in write_page(places.years(rows), out):
        typer.echo(f"written: {path}")


def carry_out(each: Pass, places: Places) -> None:
    """Run a pass in a process of its own, so that none is timed beside what another one left.

    Raises:
        RunError: it could not begin.
        Exit: it was interrupted.
    """
    words = each.words(places)
    command = f"{each.edition.year}: python -m eval {' '.join(words)}"
    typer.echo(command)
    code = exit_code(words)
    if code == USAGE_EXIT:
        raise RunError(f"{command}: ended with exit code {code}; mend what it says, and begin again")
    if code not in (0, 1):
        raise typer.Exit(code if code > 0 else 128 - code)


def exit_code(words: Sequence[str]) -> int:
    """Run ``python -m eval`` with these words, its output beside ours, and return its exit code."""
    return subprocess.run([sys.executable, "-m", "eval", *words], cwd=PROJECT).returncode


def passes(step: str, years: Sequence[Year]) -> Iterator[Pass]:
    """Yield the passes of a step: of all years first those that matter most, slow entries at last."""
    for turn in zip_longest(*(_passes_of(step, year) for year in years if year.is_here)):
        yield from filter(None, turn)


def _passes_of(step: str, year: Year) -> list[Pass]:
    """Return the passes of one year; what has its figure is in none of them."""
    slow = [one for one in year.edition.slow if one in year.ids]
    if step == "set14":
        waiting = [one for one in year.ids if one not in year.ran]
        groups = [[one for one in waiting if one not in slow], [one for one in waiting if one in slow]]
        return [Pass(year.edition, tuple(ids)) for ids in groups if ids]
    if step == "urban100":
        done = {row.id for row in year.rows if row.urban100 and row.urban100.complete}
        ids = tuple(one for one in year.first_ten if one not in done)
        return [Pass(year.edition, ids, URBAN100)] if ids else []
    untimed = [row.id for row in year.rows if row.ran and row.ratio is None and row.id in year.ids]
    others = [one for one in untimed if one not in slow and one not in year.first_ten]
    groups = [[one for one in year.first_ten if one in untimed and one not in slow]]
    groups += [others[place : place + _TOGETHER] for place in range(0, len(others), _TOGETHER)]
    groups += [[one] for one in slow if one in untimed]
    return [Pass(year.edition, tuple(ids), protocol=Protocol.STEADY) for ids in groups if ids]


if __name__ == "__main__":
    run_program(main)
