"""``pack`` and ``score-zip``, carried out and shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.cli.checking import sources_of
from eval.cli.running import Asked, check_openings
from eval.cli.terminal import Terminal
from eval.data.datasets import open_dataset
from eval.errors import RunError, UsageError
from eval.report.renderers import to_terminal
from eval.report.table import Column, Table
from eval.submission.archive import archive_faults
from eval.submission.packing import ResultsWish, bundle_of, pack_code, pack_results
from eval.submission.scoring_program import Fault, Scored
from eval.submission.subject import subject_of


@dataclass(frozen=True)
class Wanted:
    """What is packed besides the model, and where to."""

    data_dir: Path | None
    dataset: str | None
    number: int | None
    results: ResultsWish
    factsheet: Path | None
    limit_mib: float
    device: str
    save_dir: Path


def pack_entry(asked: Asked, model_id: str | None, weights: str | None, wanted: Wanted) -> None:
    """Write code.zip and results.zip, and say what is in them.

    Raises:
        UsageError: there is no data, factsheet or model of that name.
        RunError: the entry does not run, or the zip would not be taken.
    """
    if wanted.data_dir is None:
        raise UsageError(
            "--data_dir: expected the folder of the test set's LR images, got none; give the flag, or set ESR_DATA"
        )
    if wanted.factsheet is not None and not wanted.factsheet.is_file():
        raise UsageError(f"--factsheet {wanted.factsheet}: no such file; `python -m eval factsheet` writes one")
    (source,) = sources_of(asked, model_id, weights)
    dataset, subject, terminal = open_dataset(wanted.data_dir, wanted.dataset), subject_of(source), Terminal()
    check_openings(terminal, [dataset], [source])
    code, results = wanted.save_dir / "code.zip", wanted.save_dir / "results.zip"
    bundle = bundle_of(subject, wanted.number)
    # If this one fails, what is there is of one model, and not of two.
    for former in (code, results):
        former.unlink(missing_ok=True)
    pack_code(subject, bundle, wanted.device, code, wanted.factsheet)
    terminal.say(f"{code}: models/{bundle.module}.py, model_zoo/{bundle.weights}, select_model.txt, command.txt")
    record = pack_results(source, dataset, wanted.device, wanted.results, results, terminal)
    seconds = (record.mean("runtime_ms") or 0) / 1000
    on = f"{seconds:.4f} s an image on {record.environment.machine}"
    terminal.say(f"{results}: {len(dataset.pairs)} images and readme.txt, {results.stat().st_size:,} bytes; {on}")
    if wanted.factsheet is None:
        terminal.say("no factsheet: `python -m eval factsheet` writes one; send it along by --factsheet")
    faults = archive_faults(results, wanted.limit_mib)
    _show_faults(faults, terminal)
    if any(fault.refuses for fault in faults):
        raise RunError(
            f"{results}: the server would refuse this file for the reasons above; correct them and run pack again"
        )


def show_scored(scored: Scored) -> None:
    """Print scores and findings."""
    terminal = Terminal()
    columns = (Column("name", "Image", left=True), Column("psnr", "PSNR", "dB", 4), Column("ssim", "SSIM", decimals=4))
    if scored.images:
        terminal.show(to_terminal(Table.of(columns, scored.images)))
    for key, value in scored.scores.items():
        terminal.say(f"{key}: {value:.4f}")
    if scored.refused:
        terminal.say("PSNR: -1, SSIM: -1: refused")
    _show_faults(scored.faults, terminal)


def _show_faults(faults: Sequence[Fault], terminal: Terminal) -> None:
    columns = (
        Column("code", "Finding", left=True),
        Column("refuses", "Server", left=True),
        Column("text", "What was found", left=True, wraps=True),
        Column("fix", "What to do", left=True, wraps=True),
    )
    rows = [(its.code, "refuses" if its.refuses else "takes it", its.text, its.fix) for its in faults]
    if rows:
        terminal.show(to_terminal(Table.of(columns, rows), overflow="fold"))
    else:
        terminal.say("nothing was found that a server would stumble on")
