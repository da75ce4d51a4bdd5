"""Commands for participants: an entry is begun, checked, packed and scored as the server does it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from eval.cli.flags import Checkpoint, DataDir, DataRange, ModelFile, Sandbox, Timeout, Trust, Weights
from eval.cli.program import FAILURE_EXIT
from eval.files import atomic_path


def new_team(
    name: Annotated[str, typer.Argument(help="Of the network's class, such as MyNet.")],
    number: Annotated[int | None, typer.Option("--id", min=0, help="Of the team; the next free one if absent.")] = None,
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
    model_id: Annotated[str | None, typer.Option("--model_id", help="A model of the zoo, by id or name.")] = None,
    weights: Weights = None,
    model_file: ModelFile = None,
    checkpoint: Checkpoint = None,
    data_range: DataRange = None,
    checkout: Annotated[
        Path | None, typer.Option("--checkout", help="The challenge's repository, with the entry in it.")
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", help="Entries of --checkout: ids or names; all if absent.")
    ] = None,
    edition: Annotated[int, typer.Option("--edition", help="Year whose gates and baseline count.")] = 2026,
    data_dir: DataDir = None,
    time: Annotated[
        bool, typer.Option("--time", help="Time it together with the baseline, for the score; takes minutes.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="One of auto, cuda, cpu, mps, or cuda:N.")] = "cpu",
    sandbox: Sandbox = None,
    trust: Trust = False,
    timeout: Timeout = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="File for the findings as JSON, too.")] = None,
) -> None:
    """Say of an entry, check by check, whether it would be accepted and is what it says; exit code 1 if one fails."""
    from eval.cli.checking import check_entries, sources_of
    from eval.cli.running import Asked

    checkouts = [checkout] if checkout else []
    asked = Asked(models, checkouts, model_file, checkpoint, data_range, None, sandbox, trust, timeout)
    findings = check_entries(sources_of(asked, model_id, weights), edition, data_dir, device, time)
    if as_json:
        with atomic_path(as_json) as partial:
            partial.write_text(json.dumps(findings, indent=2) + "\n", encoding="utf-8")
    if any(finding["status"] == "fail" for its in findings.values() for finding in its):
        raise typer.Exit(FAILURE_EXIT)
