"""Commands for participants: an entry is begun, checked, packed and scored as the server does it."""

from typing import Annotated

import typer


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
