"""``python -m eval pack``, and what ``score-zip`` shows."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from eval.cli import flags
from eval.cli.checking import sources_of
from eval.cli.running import Asked, check_openings
from eval.cli.submitting import LARGEST_MIB, Limit
from eval.cli.terminal import Terminal
from eval.data.datasets import open_dataset
from eval.errors import RunError, UsageError
from eval.files import why_no_file
from eval.report.renderers import to_terminal
from eval.report.table import Column, Table
from eval.submission.archive import archive_faults
from eval.submission.packing import ResultsWish, bundle_of, pack_code, pack_results
from eval.submission.scoring_program import Fault, Scored
from eval.submission.subject import subject_of
from eval.words import counted


def pack(
    model_id: flags.OfTheZoo = None,
    weights: flags.Weights = None,
    model_file: flags.ModelFile = None,
    checkpoint: flags.Checkpoint = None,
    data_range: flags.DataRange = None,
    model_args: flags.ModelArgs = None,
    weights_key: flags.WeightsKey = None,
    data_dir: flags.DataDir = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="The test set's name in --data_dir.")] = None,
    number: Annotated[int | None, typer.Option("--id", min=0, help="The team's number, for names of files.")] = None,
    suffix: Annotated[str, typer.Option("--suffix", help="Suffix of the SR images' file names: x4, or nothing.")] = "",
    small: Annotated[
        bool, typer.Option("--small", help="Compress PNG files as much as possible; takes seconds per image.")
    ] = False,
    extra_data: Annotated[
        bool, typer.Option("--extra_data/--no_extra_data", help="Whether other data than the challenge's was used.")
    ] = True,
    description: Annotated[str, typer.Option("--description", help="The readme's last line.")] = "",
    factsheet: Annotated[Path | None, typer.Option("--factsheet", help="A factsheet to send along.")] = None,
    limit: Limit = LARGEST_MIB,
    device: flags.Device = "auto",
    sandbox: flags.Sandbox = None,
    save_dir: Annotated[Path, flags.out("Folder for results.zip and code.zip.")] = Path("submission"),
) -> None:
    """Write the files of a submission: results.zip (SR images, readme.txt) and code.zip (network as one file)."""
    if data_dir is None:
        raise UsageError(
            "--data_dir: expected the folder of the test set's LR images, got none; give the flag, or set ESR_DATA"
        )
    if not re.fullmatch(r"[\w.-]*", suffix, re.ASCII):
        raise UsageError(
            f"--suffix {suffix}: expected letters, digits, _, - and . alone, for it becomes part of a file's name"
        )
    if factsheet is not None and (reason := why_no_file(factsheet)):
        raise UsageError(f"--factsheet {factsheet}: {reason}; `python -m eval factsheet` writes one")
    of_a_file = {"model_file": model_file, "checkpoint": checkpoint, "data_range": data_range}
    asked = Asked(**of_a_file, model_args=model_args, weights_key=weights_key, sandbox=sandbox)
    (source,) = sources_of(asked, model_id, weights, takes_checkouts=False)
    images, subject, terminal = open_dataset(data_dir, dataset), subject_of(source), Terminal()
    check_openings(terminal, [images], [source])
    code, results = save_dir / "code.zip", save_dir / "results.zip"
    bundle = bundle_of(subject, number)
    # If this one fails, what is there is of one model, and not of two.
    for former in (code, results):
        former.unlink(missing_ok=True)
    pack_code(subject, bundle, device, code, factsheet)
    terminal.say(f"{code}: models/{bundle.module}.py, model_zoo/{bundle.weights}, select_model.txt, command.txt")
    wish = ResultsWish(suffix, small, extra_data, description or str(model_id or Path(str(model_file)).name))
    record = pack_results(source, images, device, wish, results, terminal)
    seconds = (record.mean("runtime_ms") or 0) / 1000
    on = f"{seconds:.4f} s an image on {record.environment.machine}"
    terminal.say(
        f"{results}: {counted(len(images.pairs), 'image')} and readme.txt, {results.stat().st_size:,} bytes; {on}"
    )
    if factsheet is None:
        terminal.say("no factsheet: `python -m eval factsheet` writes one; send it along by --factsheet")
    faults = archive_faults(results, limit)
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
    titles = ("Finding", "Server", "What was found", "What to do")
    rows = [(its.code, "refuses" if its.refuses else "takes it", its.text, its.fix) for its in faults]
    if rows:
        terminal.show(to_terminal(Table.headed(titles, rows, 4), overflow="fold"))
    else:
        terminal.say("nothing was found that a server would stumble on")
