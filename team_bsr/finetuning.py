"""Fine-tuning PFDNLite on images of one's own: from the weights that ship to a file that runs, measured both times."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from eval.data.arrays import dataset_of_arrays
from eval.data.datasets import Dataset
from eval.data.likeness import shared_images
from eval.errors import UsageError
from eval.words import first_of
from eval.zoo.checkpoints import MissingWeightsError, find_checkpoint
from eval.zoo.manifest import MODEL_ZOO, find_model
from team_bsr.checkpoint import load_network, write_weights
from team_bsr.data import open_pairs
from team_bsr.outputs import check_folder, check_outputs, keep_zoo_whole
from team_bsr.plan import Habits, Plan, Run, accelerator_of, describe_data, precision_here
from team_bsr.recipe import load_recipe
from team_bsr.sources import Sources, decoded
from team_bsr.survey import Survey, survey
from team_bsr.trainees import deploy_form
from team_bsr.training import first_network, train
from team_bsr.validation import open_sets, validate

TRAINING_FORM = MODEL_ZOO / "pfdnlite_training.safetensors"
HELD_OUT = "held out"
# Every fifth image is held out, the third one first.
_EACH, _FIRST = 5, 2
# Of the names of images that are held out.
_SHOWN = 5
# Flags that ``train`` has as well.
Precision = Annotated[
    Literal["no", "bf16", "fp16", "auto"],
    typer.Option(help="What autocast computes in: no is float32, auto is bf16 where that is faster here."),
]
OnCpu = Annotated[bool, typer.Option("--cpu", help="Train on the CPU even where there is a GPU.")]
SkipBad = Annotated[bool, typer.Option("--skip_bad", help="Leave unreadable images out, and name them.")]


def above_0(value: float | None) -> float | None:
    """Refuse a flag's value that is not above 0."""
    if value is not None and not value > 0:
        raise typer.BadParameter(f"expected a number above 0, got {value:g}")
    return value


def split_off(images: Survey) -> tuple[Survey, Dataset]:
    """Hold every fifth image out; return the others, and the set of those, with LR made or read as in training.

    Raises:
        UsageError: there are fewer than three images.
        RunError: an image that is held out is damaged, and ``skip_bad`` is not set; or all of them are.
    """
    files = list(images.images)
    held = files[_FIRST::_EACH]
    if not held:
        raise UsageError(f"--data: expected at least {_FIRST + 1} images, of which one is held out; got {len(files)}")
    faults: list[str] = []
    read = decoded(held, images.partners, faults if images.sources.skip_bad else None, "images that are held out")
    pairs = [(lr, hr) for _, hr, lr in read]
    aside = set(held)
    left = {path: size for path, size in images.images.items() if path not in aside}
    return replace(images, images=left, faults=(*images.faults, *faults)), dataset_of_arrays(pairs, HELD_OUT)


def _told_aside(found: Survey, left: Survey) -> str:
    names = [path.name for path in found.images if path not in left.images]
    return f"{HELD_OUT} {len(names)} of {len(found.images)} images, not trained on: {first_of(names, _SHOWN)}"


def _told_start(start: Path) -> str:
    """Say what it starts from, and of the weights that ship, which others are here."""
    if start != TRAINING_FORM:
        return f"starts from {start}"
    released = "their file, which python -m eval fetch weights --model_id 3 gets"
    with suppress(MissingWeightsError):
        released = find_checkpoint(find_model("PFDNLite"), "released").path
    return f"starts from {start}, which ships; from the released weights, which have a higher PSNR: --start {released}"


def finetune_command(
    data: Annotated[list[Path], typer.Option(help="Folder of HR images, with its subfolders; may be repeated.")],
    weights: Annotated[Path, typer.Option(help="File for the fused weights.")] = Path("finetuned.safetensors"),
    run_dir: Annotated[
        Path, typer.Option("--run_dir", help="Folder of checkpoints; an existing run is continued.")
    ] = Path("runs/finetune"),
    validation: Annotated[
        list[Path] | None,
        typer.Option("--validate", help="Folder of a set to measure on; every fifth image of --data if none."),
    ] = None,
    start: Annotated[
        Path, typer.Option(help="Checkpoint, or weights (.pth, .safetensors), to start from.")
    ] = TRAINING_FORM,
    minutes: Annotated[float, typer.Option(help="How long to train.", callback=above_0)] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the patches.")] = 0,
    precision: Precision = "auto",
    cpu: OnCpu = False,
    skip_bad: SkipBad = False,
) -> None:
    """Fine-tune PFDNLite on images of your own, and tell its PSNR before and after."""
    check_outputs({"--weights": weights}, start, TRAINING_FORM)
    keep_zoo_whole(weights, flag="--weights")
    check_folder("--run_dir", run_dir)
    taken = precision_here(precision, cpu, run_dir)
    plan = Plan(load_recipe(preset="finetune")[3:], seed, taken)
    accelerator = accelerator_of(cpu, plan)
    first_network(plan.steps[0], plan, None, start)
    accelerator.print(_told_start(start))
    images = found = survey(Sources(tuple(data), skip_bad=skip_bad))
    sets = open_sets(validation)
    if not sets:
        images, held = split_off(found)
        sets = [held]
        accelerator.print(_told_aside(found, images))
    for line in describe_data(plan, images):
        accelerator.print(line)
    with accelerator.main_process_first():
        pairs = open_pairs(images, run_dir / "cache")
    for line in (*(f"skipped: {fault}" for fault in pairs.skipped), *shared_images(sets, pairs.thumbnails())):
        accelerator.print(line)
    before_db = validate(load_network(start).to(accelerator.device), sets)
    trained = load_network(train(plan, Habits(), Run(run_dir, pairs, sets, start, minutes), accelerator))
    write_weights(deploy_form(trained), weights)
    for name, after_db in validate(trained.to(accelerator.device), sets).items():
        gain_db = after_db - before_db[name]
        accelerator.print(f"{name}: {before_db[name]:.3f} dB before, {after_db:.3f} dB after ({gain_db:+.3f})")
    accelerator.print(f"{weights}: python test_demo.py --model_id 3 --weights {weights}")
