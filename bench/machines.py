"""The template and this harness on one kind of processor after another: whole commands, in seconds.

``python -m bench.machines --checkout NTIRE2024_ESR --data_dir DIR`` runs both sides on this machine, appends what it
took to docs/results/speed-machines.json, and writes docs/results/speed.md anew. A machine that is there already is
measured anew, for its date.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

from bench.processes import RESULTS, child, lay_out
from bench.speed_report import MACHINES, write_report
from eval.cli.flags import DataDir
from eval.cli.program import run_program
from eval.data.datasets import open_dataset
from eval.device.gain import HALF_TYPES, half_precision_gain
from eval.run.environment import describe_environment

# What rows of our side are called, and how each is asked for.
OURS = {
    "auto": ("auto", "fp32"),
    "eager": ("eager", "fp32"),
    "channels-last": ("channels-last", "fp32"),
    "compiled": ("compiled", "fp32"),
    "compiled, bf16": ("compiled", "bf16"),
}
# These keep what they decided or compiled, so the first run is a row of its own.
KEEPING = ("auto", "compiled")
TAKEN = {"PSNR, SSIM, PNG": ("--ssim", "--save"), "PSNR, PNG": ("--save",)}


def main(
    checkout: Annotated[Path, typer.Option("--checkout", help="A checkout of the 2024 challenge.")],
    data_dir: DataDir = None,
    images: Annotated[int, typer.Option(help="How many images of Urban100, from the first on.")] = 100,
    rounds: Annotated[int, typer.Option(help="Runs of each side, in turns, of which the median counts.")] = 3,
    note: Annotated[str, typer.Option(help="What is to be known of the machine, such as that it was busy.")] = "",
) -> None:
    """Measure both sides on this machine, and write the report."""
    machine = measured(checkout.resolve(), data_dir, images, rounds) | ({"note": note} if note else {})
    path = RESULTS / MACHINES
    path.write_text(json.dumps(with_machine(json.loads(path.read_text("utf-8")), machine), indent=1) + "\n", "utf-8")
    write_report(json.loads((RESULTS / "speed.json").read_text("utf-8")), RESULTS)
    typer.echo(f"written: {path}, {RESULTS}/speed.md")


def measured(checkout: Path, data_dir: Path | None, images: int, rounds: int) -> dict[str, Any]:
    """Return one machine's entry: seconds by what is taken and by side."""
    environment, sides = describe_environment(torch.device("cpu")), _sides()
    taken_s: dict[str, dict[str, list[float]]] = {taken: {} for taken in TAKEN}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(open_dataset(data_dir, "Urban100"), images, folder / "images")
        for number in range(rounds):
            for taken, flags in TAKEN.items():
                for side, command in _commands(checkout, folder / "images", sides, flags).items():
                    # The compiler takes no spaces in paths.
                    cache = folder / f"{taken}-{side}".replace(", ", "-")
                    if number == 0 and side.partition(",")[0] in KEEPING:
                        taken_s[taken][f"{side}, first run"] = [child(*command, cache=cache)["process_s"]]
                    taken_s[taken].setdefault(side, []).append(child(*command, cache=cache)["process_s"])
    return {
        "kind": environment.instructions or "",
        "processor": environment.cpu,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "threads": environment.threads,
        "torch": environment.torch,
        "images": images,
        "rounds": rounds,
        "seconds": {taken: {side: median(its) for side, its in sides.items()} for taken, sides in taken_s.items()},
    }


def _sides() -> dict[str, tuple[str, str]]:
    """Return our sides; in half precision only where a run would not be refused."""
    cpu = torch.device("cpu")
    gains = {half: half_precision_gain(cpu, half) for _, half in OURS.values() if half in HALF_TYPES}
    return {side: how for side, how in OURS.items() if gains.get(how[1], 1) >= 1}


def _commands(
    checkout: Path, folder: Path, sides: Mapping[str, tuple[str, str]], flags: Sequence[str]
) -> dict[str, tuple]:
    """Return what is run for each side: a module and its arguments."""
    ours = {
        side: ("bench.our_side", "--data_dir", folder, "--engine", engine, "--precision", precision, *flags)
        for side, (engine, precision) in sides.items()
    }
    return {"template": ("bench.template_side", "--checkout", checkout, "--data_dir", folder, *flags)} | ours


def with_machine(machines: list[dict[str, Any]], machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries with one more, which takes the place of the same machine's of the same day."""
    which = ("processor", "kind", "date", "threads", "images")
    return [its for its in machines if any(its.get(key) != machine[key] for key in which)] + [machine]


if __name__ == "__main__":
    run_program(main)
