"""Command line of ``python -m team_bsr``: one thin function a command."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from eval.cli.program import new_app
from eval.data.likeness import shared_images, thumbnails
from eval.errors import UsageError
from eval.words import counted
from team_bsr.checkpoint import load_network, save_checkpoint, write_weights
from team_bsr.data import open_pairs
from team_bsr.export import export_command
from team_bsr.finetuning import OnCpu, Precision, SkipBad, above_0, finetune_command
from team_bsr.network import TrainingPFDNLite
from team_bsr.outputs import check_folder, check_outputs, keep_zoo_whole
from team_bsr.plan import Habits, Plan, Run, accelerator_of, describe, describe_data, precision_here
from team_bsr.pruning import prune
from team_bsr.recipe import RECIPES, chosen_steps, load_recipe
from team_bsr.sources import Sources
from team_bsr.survey import survey
from team_bsr.trainees import deploy_form
from team_bsr.training import first_network, train
from team_bsr.validation import open_sets

app = new_app()
Folders = list[Path]


@app.command(name="train")
def train_command(
    run_dir: Annotated[
        Path,
        typer.Option("--run_dir", help="Folder of checkpoints and TensorBoard files; an existing run is continued."),
    ],
    data: Annotated[
        Folders, typer.Option(help="Train on the HR images of this folder and its subfolders; may be repeated.")
    ],
    lr_data: Annotated[
        Folders | None, typer.Option("--lr_data", help="Take their LR images from this folder; may be repeated.")
    ] = None,
    validation: Annotated[
        Folders | None, typer.Option("--validate", help="Validate on the set in this folder; may be repeated.")
    ] = None,
    recipe: Annotated[Path, typer.Option(help="Read step1.toml to step4.toml and presets from this folder.")] = RECIPES,
    network: Annotated[
        Literal["pfdnlite", "abpn"], typer.Option(help="What to train; abpn has no step 4.")
    ] = "pfdnlite",
    preset: Annotated[
        str | None, typer.Option(help="Scale the recipe by a preset: cpu, cpu-minutes, gpu-minutes or finetune.")
    ] = None,
    steps: Annotated[str, typer.Option(help="Which steps are trained, separated by commas.")] = "1,2,3,4",
    start: Annotated[
        Path | None, typer.Option(help="Start from this checkpoint, or from these weights (.pth, .safetensors).")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop after this number of minutes; they are divided among the steps.", callback=above_0),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the initial weights and of the patches.")] = 0,
    precision: Precision = "no",
    cpu: OnCpu = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Number of processes that cut patches. Default: up to 8 with a GPU, else 0."),
    ] = None,
    log_every: Annotated[int, typer.Option("--log_every", min=1, help="Print a line every so many iterations.")] = 100,
    validate_every: Annotated[
        int, typer.Option("--validate_every", min=1, help="Validate every so many iterations.")
    ] = 1000,
    checkpoint_every: Annotated[
        int, typer.Option("--checkpoint_every", min=1, help="Save a checkpoint every so many iterations.")
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
    """Train the steps of the recipe, or continue a run. Use torchrun for several processes."""
    check_folder("--run_dir", run_dir)
    taken = precision_here(precision, cpu, run_dir)
    plan = Plan(chosen_steps(load_recipe(recipe, preset), steps), seed, taken, network)
    sets = open_sets(validation)
    accelerator = accelerator_of(cpu, plan)
    images = survey(Sources(tuple(data), tuple(lr_data or ()), skip_bad))
    tell = accelerator.print
    for line in describe_data(plan, images):
        tell(line)
    if start is not None:
        first_network(plan.steps[0], plan, None, start)
    habits = Habits(log_every, validate_every, checkpoint_every, keep, workers, resident, recorded, compiled)
    if dry_run:
        seen = thumbnails(list(images.images)) if sets else {}
        for line in (*describe(plan, habits, minutes, accelerator), *shared_images(sets, seen)):
            tell(line)
        return
    with accelerator.main_process_first():
        pairs = open_pairs(images, run_dir / "cache")
    for line in (*(f"skipped: {fault}" for fault in pairs.skipped), *shared_images(sets, pairs.thumbnails())):
        tell(line)
    tell(f"{counted(len(pairs), 'image')}, {accelerator.device}, {counted(accelerator.num_processes, 'process')}")
    tell(f"done: {train(plan, habits, Run(run_dir, pairs, sets, start, minutes), accelerator)}")


app.command(name="finetune")(finetune_command)


@app.command(name="prune")
def prune_command(
    stage1: Annotated[Path, typer.Argument(help="Checkpoint of steps 1 to 3 (first stage).")],
    stage2: Annotated[Path, typer.Argument(help="File for the pruned checkpoint, which step 4 trains (second stage).")],
    rule: Annotated[
        Literal["first", "importance"], typer.Option(help="Which channels the new point-wise convolution keeps.")
    ] = "importance",
) -> None:
    """Prune the second and third block of STAGE1.ckpt; train STAGE2.ckpt with --steps 4 --start STAGE2.ckpt."""
    check_outputs({"STAGE2": stage2}, stage1)
    keep_zoo_whole(stage2, flag="STAGE2")
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
    """Scale PFDNLite's features up, so that SiLU is less linear; then: train --steps 4 --start GROWN.safetensors."""
    check_outputs({"GROWN": grown}, weights)
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
    check_outputs({"WEIGHTS": weights}, checkpoint)
    write_weights(deploy_form(load_network(checkpoint)), weights)
    typer.echo(f"{weights}: {weights.stat().st_size} bytes")


app.command(name="export")(export_command)
