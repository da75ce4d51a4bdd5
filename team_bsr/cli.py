"""Command line of ``python -m team_bsr``: one thin function a command."""

import json
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from eval.cli.program import new_app
from eval.data.datasets import SAMPLE, Dataset, open_dataset
from eval.data.likeness import shared_images, thumbnails
from eval.errors import UsageError
from eval.files import write_whole
from eval.submission.graphs import INPUT, INSTALL, OUTPUT, check_onnx, compare_onnx, onnx_graph
from models.team03_PFDNLite import PFDNLite
from team_bsr.checkpoint import load_checkpoint, load_network, save_checkpoint, write_weights
from team_bsr.data import open_pairs
from team_bsr.export import manifest_row, verify
from team_bsr.finetuning import finetune_command
from team_bsr.flags import OnCpu, Precision, SkipBad
from team_bsr.network import TrainingPFDNLite, reparameterize
from team_bsr.plan import Habits, Plan, Run, accelerator_of, describe, describe_data, precision_here
from team_bsr.pruning import prune
from team_bsr.recipe import RECIPES, Step, load_recipe
from team_bsr.sources import Sources
from team_bsr.survey import survey
from team_bsr.trainees import deploy_form
from team_bsr.training import first_network, train
from team_bsr.validation import open_set

app = new_app()
Rule = Annotated[
    Literal["first", "importance"], typer.Option(help="Which channels the new point-wise convolution keeps.")
]
Folders = list[Path]


@app.command(name="train")
def train_command(
    run_dir: Annotated[
        Path,
        typer.Option(
            "--run_dir", help="Keep checkpoints and TensorBoard's files in this folder; a run that is there goes on."
        ),
    ],
    data: Annotated[
        Folders, typer.Option(help="Train on the HR images of this folder and its subfolders; may be repeated.")
    ],
    lr_data: Annotated[
        Folders | None, typer.Option("--lr_data", help="Take their LR images from this folder; may be repeated.")
    ] = None,
    validation: Annotated[
        Folders | None, typer.Option("--validate", help="Validate on this set; may be repeated.")
    ] = None,
    recipe: Annotated[Path, typer.Option(help="Read step1.toml to step4.toml and presets from this folder.")] = RECIPES,
    network: Annotated[
        Literal["pfdnlite", "abpn"], typer.Option(help="What to train; abpn has no step 4.")
    ] = "pfdnlite",
    preset: Annotated[
        str | None, typer.Option(help="Scale the recipe by a preset: cpu, cpu-minutes, gpu-minutes or finetune.")
    ] = None,
    steps: Annotated[str, typer.Option(help="Which steps are trained, separated by commas.")] = "1,2,3,4",
    start: Annotated[Path | None, typer.Option(help="Start from this checkpoint, or from these weights.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="End after so many minutes, of which every step has its share.")
    ] = None,
    seed: Annotated[int, typer.Option(help="What initial weights and patches are drawn from.")] = 0,
    precision: Precision = "no",
    cpu: OnCpu = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="How many processes cut patches; by default some beside a GPU, else none."),
    ] = None,
    log_every: Annotated[int, typer.Option("--log_every", help="Print a line every so many iterations.")] = 100,
    validate_every: Annotated[int, typer.Option("--validate_every", help="Validate every so many iterations.")] = 1000,
    checkpoint_every: Annotated[
        int, typer.Option("--checkpoint_every", help="Save a checkpoint every so many iterations.")
    ] = 1000,
    keep: Annotated[int, typer.Option(min=1, help="How many checkpoints of a step are kept.")] = 3,
    resident: Annotated[
        bool | None,
        typer.Option("--resident/--not_resident", help="Keep images on the device; by default on a GPU they fit on."),
    ] = None,
    recorded: Annotated[
        bool,
        typer.Option("--recorded/--not_recorded", help="On one GPU, record a step's kernels and start them as one."),
    ] = True,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Fuse the network's kernels by torch.compile, which takes a minute.")
    ] = False,
    skip_bad: SkipBad = False,
    dry_run: Annotated[bool, typer.Option("--dry_run", help="Print the plan and the time expected, and stop.")] = False,
) -> None:
    """Train the recipe's steps, or go on with a run. Under torchrun, on many processes."""
    taken = precision_here(precision, cpu, run_dir)
    plan = Plan(_chosen(load_recipe(recipe, preset), steps), seed, taken, network)
    sets = [open_set(folder) for folder in validation or ()]
    accelerator = accelerator_of(cpu, taken)
    images = survey(Sources(tuple(data), tuple(lr_data or ()), skip_bad))
    tell = accelerator.print
    for line in describe_data(plan, images):
        tell(line)
    if start is not None:
        first_network(plan.steps[0], plan, None, start)
    if dry_run:
        seen = thumbnails(list(images.images)) if sets else {}
        for line in (*describe(plan, minutes, accelerator), *shared_images(sets, seen)):
            tell(line)
        return
    with accelerator.main_process_first():
        pairs = open_pairs(images, run_dir / "cache")
    for line in (*(f"skipped: {fault}" for fault in pairs.skipped), *shared_images(sets, pairs.thumbnails())):
        tell(line)
    tell(f"{len(pairs)} images, {accelerator.device}, {accelerator.num_processes} process(es)")
    habits = Habits(log_every, validate_every, checkpoint_every, keep, workers, resident, recorded, compiled)
    tell(f"done: {train(plan, habits, Run(run_dir, pairs, sets, start, minutes), accelerator)}")


def _chosen(recipe: tuple[Step, ...], steps: str) -> tuple[Step, ...]:
    """Return the recipe's steps that ``--steps`` names."""
    names, known = {name.strip() for name in steps.split(",")}, [str(step.number) for step in recipe]
    if unknown := names.difference(known):
        raise UsageError(f"--steps: expected numbers of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    return tuple(step for step in recipe if str(step.number) in names)


app.command(name="finetune")(finetune_command)


@app.command(name="prune")
def prune_command(
    stage1: Annotated[Path, typer.Argument(help="Read this checkpoint of the first stage.")],
    stage2: Annotated[Path, typer.Argument(help="Write this checkpoint of the second stage.")],
    rule: Rule = "importance",
) -> None:
    """Prune the second and third block of STAGE1.ckpt; train STAGE2.ckpt with --steps 4 --start STAGE2.ckpt."""
    pruned = prune(load_network(stage1), rule)
    state = {"pruned_blocks": list(pruned.pruned_blocks), "ema": pruned.state_dict()}
    save_checkpoint(stage2, {**state, "pruned_from": str(stage1), "rule": rule})
    typer.echo(f"{stage2}: blocks {pruned.pruned_blocks} pruned by the rule {rule!r}")


@app.command(name="grow")
def grow_command(
    weights: Annotated[Path, typer.Argument(help="Read this checkpoint, or this file of weights.")],
    grown: Annotated[Path, typer.Argument(help="Write a training form to this safetensors file.")],
    factor: Annotated[float, typer.Option(help="How many times larger features become.", min=1)] = 4,
) -> None:
    """Make PFDNLite's features larger, so that SiLU bends; go on with train --steps 4 --start GROWN.safetensors."""
    network = load_network(weights)
    if not isinstance(network, TrainingPFDNLite):
        raise UsageError(f"{weights}: expected weights of PFDNLite")
    network.grow_features(factor)
    write_weights(network, grown)
    typer.echo(f"{grown}: features {factor:g} times larger; its images are wrong until it has been trained anew")


@app.command(name="fuse")
def fuse_command(
    checkpoint: Annotated[Path, typer.Argument(help="Read this checkpoint, or training form as safetensors.")],
    weights: Annotated[Path, typer.Argument(help="Write the deploy network's weights to this file.")],
) -> None:
    """Fuse CHECKPOINT, or a training form as safetensors, into the deploy network's WEIGHTS.safetensors."""
    write_weights(deploy_form(load_network(checkpoint)), weights)
    typer.echo(f"{weights}: {weights.stat().st_size} bytes")


@app.command(name="export")
def export_command(
    checkpoint: Annotated[Path, typer.Argument(help="Read this checkpoint of the second stage.")],
    weights: Annotated[Path, typer.Option(help="Write the weights to this file.")] = Path(
        "pfdnlite_exported.safetensors"
    ),
    images: Annotated[
        Path | None, typer.Option(help="Verify on this set; without it on photographs of scikit-image.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the weights are called in the manifest.")] = "exported",
    training: Annotated[
        Path | None,
        typer.Option(help="Write the training form in float16 to this file, too; train --start goes on from it."),
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(help="Write the deploy network's ONNX graph, which takes any size, to this file, too."),
    ] = None,
) -> None:
    """Fuse a checkpoint of the second stage, verify it on real images, write it and print its manifest row."""
    if onnx is not None:
        check_onnx()
    state, network = load_checkpoint(checkpoint), load_network(checkpoint)
    if not isinstance(network, TrainingPFDNLite) or not network.pruned_blocks:
        raise UsageError(f"{checkpoint}: expected PFDNLite of the second stage; prune it, or use fuse")
    dataset = open_dataset(images, None if images else SAMPLE)
    agreement = verify(network, (pair.read()[0] for pair in dataset.pairs))
    for dtype, largest in agreement.largest.items():
        typer.echo(f"fused - unfused on {len(dataset.pairs)} images of {dataset.name}, {dtype}: {largest:.1e}")
    typer.echo(f"8-bit samples changed by fusing in float32: {agreement.changed} of {agreement.samples}")
    write_weights(reparameterize(network), weights)
    if training is not None:
        facts = {"step": state.get("step"), "iteration": state.get("iteration"), "recipe": state.get("plan")}
        write_weights(network, training, torch.float16, {key: json.dumps(value) for key, value in facts.items()})
        typer.echo(f"{training}: {training.stat().st_size} bytes, to go on from by train --start")
    if onnx is not None:
        _write_onnx(reparameterize(network.float()), onnx, dataset)
    typer.echo(
        f"{weights}: step {state.get('step')}, iteration {state.get('iteration')}\n\n{manifest_row(weights, name)}"
    )


def _write_onnx(deploy: PFDNLite, path: Path, dataset: Dataset) -> None:
    graph = onnx_graph(deploy)
    agreement = compare_onnx(graph, deploy, (pair.read()[0] for pair in dataset.pairs))
    write_whole(path, graph)
    typer.echo(f"{path}: {len(graph)} bytes, ONNX of {INPUT} (1, 3, h, w) to {OUTPUT} (1, 3, 4h, 4w), float32")
    if agreement is None:
        typer.echo(f"not compared with torch: onnxruntime is not installed; {INSTALL}")
        return
    largest = agreement.largest[torch.float32]
    typer.echo(f"ONNX Runtime - torch on {len(dataset.pairs)} images of {dataset.name}: {largest:.1e}")
    typer.echo(f"8-bit samples changed by it: {agreement.changed} of {agreement.samples}")
