"""Commands for participants: an entry is begun, checked, packed and scored as the server does it."""

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from eval.cli import flags
from eval.cli.program import FAILURE_EXIT
from eval.errors import UsageError
from eval.files import write_whole

# An assumption: no challenge states its server's limit, and uploads of 700 MB failed in public reports.
LARGEST_MIB = 500.0
Limit = Annotated[float, typer.Option("--limit_mib", min=1, help="The server's largest upload.")]


def new_team(
    name: Annotated[str, typer.Argument(help="Name of the network's class, such as MyNet.")],
    number: Annotated[
        int | None, typer.Option("--id", min=0, help="Id of the team. Default: the next free id.")
    ] = None,
) -> None:
    """Write a small working network, its first weights and its row in the manifest, and say what comes next."""
    from eval.submission.new_team import begin

    team = begin(name, number)
    for path, what in (
        (team.network, "the network: change it"),
        (team.weights, "its first weights; the network is the nearest-neighbour enlargement until it is trained"),
        (team.manifest, f"one row more, id {team.id}"),
    ):
        typer.echo(f"{path.relative_to(team.root)}: {what}")
    typer.echo(
        f"""next:
  python test_demo.py --model_id {team.id} --dataset sample     run it
  python -m eval check --model_id {team.id}                     would this entry be accepted?
  make test TESTS="tests/models tests/zoo -k {name}"    its tests, which are there already
  after a change: its counts, sha256 and bytes in {team.manifest.name}; after training: name the new file by --weights
  python -m eval pack --model_id {team.id} --data_dir LR_FOLDER  the results and the code, as zip files"""
    )


def check(
    model_id: flags.OfTheZoo = None,
    weights: flags.Weights = None,
    model_file: flags.ModelFile = None,
    checkpoint: flags.Checkpoint = None,
    data_range: flags.DataRange = None,
    model_args: flags.ModelArgs = None,
    weights_key: flags.WeightsKey = None,
    checkout: Annotated[
        Path | None, typer.Option("--checkout", help="The challenge's repository, with the entry in it.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", help="Entries of --checkout: ids or names; all if absent.", callback=flags.some),
    ] = None,
    edition: flags.EditionFlag = "newest",
    data_dir: flags.DataDir = None,
    time: Annotated[
        bool,
        typer.Option(
            "--time", help="Also measure the score: time the entry together with the baseline; takes minutes."
        ),
    ] = False,
    device: flags.Device = "cpu",
    sandbox: flags.Sandbox = None,
    trust: flags.Trust = False,
    timeout: flags.Timeout = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="File for the findings as JSON, too.")] = None,
) -> None:
    """Check whether the challenge would accept an entry and if its figures are right; exit code 1 if a check fails."""
    from eval.cli.checking import check_entries, sources_of
    from eval.cli.running import Asked

    of_a_file = {"model_file": model_file, "checkpoint": checkpoint, "data_range": data_range}
    of_a_file |= {"model_args": model_args, "weights_key": weights_key}
    rules = {"sandbox": sandbox, "trust": trust, "timeout_s": timeout}
    asked = Asked(models, [checkout] if checkout else [], **of_a_file, **rules)
    sources, findings = sources_of(asked, model_id, weights), {}
    _check_json(as_json)
    for label, found in check_entries(sources, edition, data_dir, device, time):
        findings[label] = found
        # An error of another entry shall not cost what was found of this one.
        _write_json(as_json, findings)
    if any(finding["status"] == "fail" for its in findings.values() for finding in its):
        raise typer.Exit(FAILURE_EXIT)


def score_zip(
    archive: Annotated[Path, typer.Argument(help="The zip that is to be uploaded.")],
    hr: Annotated[Path, typer.Option("--hr", help="Folder of HR images, PNG.")],
    luma: Annotated[bool, typer.Option("--luma", help="Compare the Y channel, as the tracks of fidelity do.")] = False,
    limit: Limit = LARGEST_MIB,
    as_json: Annotated[Path | None, typer.Option("--json", help="File for scores and findings as JSON, too.")] = None,
) -> None:
    """Score a results zip as the challenge's server does, and list what the server would refuse without a message."""
    from eval.cli.packing import show_scored
    from eval.submission.archive import score_archive

    _check_json(as_json)
    scored = score_archive(archive, hr, luma, limit)
    show_scored(scored)
    _write_json(as_json, {"scores": scored.scores, "findings": [vars(fault) for fault in scored.faults]})
    if scored.refused:
        raise typer.Exit(FAILURE_EXIT)


def _check_json(path: Path | None) -> None:
    """Try to write where --json is to go, before the work whose findings it is to hold.

    Raises:
        UsageError: it cannot be written.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
        reason = os.strerror(errno.EISDIR) if path.is_dir() else None
    except OSError as error:
        reason = error.strerror
    if reason:
        raise UsageError(f"--json {path}: cannot be written: {reason}; name another file")


def _write_json(path: Path | None, content: object) -> None:
    if path:
        write_whole(path, json.dumps(content, indent=2) + "\n")
