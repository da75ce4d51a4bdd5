"""Commands that bring, list or make what the others need."""

from pathlib import Path
from typing import Annotated

import typer

from eval.cache import cache_folder
from eval.cli.flags import some, writable
from eval.cli.program import new_app
from eval.cli.terminal import Terminal
from eval.config import split
from eval.errors import RunError, UsageError
from eval.files import why_no_folder
from eval.words import counted
from eval.zoo.manifest import MODEL_ZOO, CheckpointSpec, all_models, find_model


def list_models(
    checkout: Annotated[
        list[Path] | None, typer.Option("--checkout", help="List the entries of the challenge's repository instead.")
    ] = None,
) -> None:
    """List the project's models (the zoo) and which weights are on this machine; or the entries of a checkout."""
    from eval.cli.model_tables import entries_table, zoo_table

    terminal = Terminal()
    if not checkout:
        table, faults = zoo_table(all_models())
        terminal.show(table)
        for fault in faults:
            terminal.say(fault)
        return
    from eval.third_party.choosing import read_checkouts

    for found in read_checkouts(checkout):
        terminal.say(f"{found.origin}, {found.path}: {len(found.entries)} entries")
        terminal.show(entries_table(found))


def fetch_weights(
    model_id: Annotated[
        str | None,
        typer.Option(
            "--model_id", help="Models whose weights are downloaded: ids or names, separated by commas.", callback=some
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Download the weights of every model.")] = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="Download to this folder instead of the cache.", callback=writable)
    ] = None,
) -> None:
    """Download released weights, check their SHA-256, and store them in the download cache."""
    if (model_id is None) == (not every):
        raise UsageError("fetch weights: give either --model_id or --all")
    keys = split(model_id)
    if not every and not keys:
        raise UsageError(f"--model_id {model_id}: expected ids or names of models, separated by commas")
    specs = list(all_models()) if every else [find_model(key) for key in keys]
    folder, failures = to or cache_folder(), []
    for spec in specs:
        if not spec.checkpoints:
            typer.echo(f"{spec.label}: has no weights, so there is nothing to download")
        for known in spec.checkpoints:
            try:
                typer.echo(_fetched(known, folder))
            except (RunError, OSError) as error:
                failures.append(str(error))
    if failures:
        raise RunError("\n".join(failures))


def _fetched(known: CheckpointSpec, folder: Path) -> str:
    """Download a checkpoint and say where it is; one without an address comes with the project."""
    from eval.zoo.fetch import fetch_checkpoint

    shipped = MODEL_ZOO / known.file
    if known.url is None and shipped.is_file():
        return f"{known.file}: comes with the project, {shipped}"
    return f"{known.file}: {fetch_checkpoint(known, folder)}"


def fetch_data(
    sets: Annotated[str, typer.Argument(help="Names with commas: Set5, Set14, Urban100, DIV2K_valid.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder to download to, instead of the cache.", callback=writable)
    ] = None,
    mirror: Annotated[str | None, typer.Option("--mirror", help="Address of the same files elsewhere.")] = None,
) -> None:
    """Download image sets for x4, check each file, and keep them in the cache, where --dataset finds them."""
    from eval.data.fetch import fetch_set, fetchable_sets, num_files

    names = split(sets)
    if not names or set(names) - set(fetchable_sets()):
        raise UsageError(f"fetch data {sets}: no such set; there are: {', '.join(fetchable_sets())}")
    folder = to or cache_folder("data")
    for name in names:
        with Terminal().progress(name, num_files(name), "files") as on_file:
            checked = fetch_set(name, folder, mirror, on_file)
        typer.echo(f"{name}: {checked}, in {folder}")


def make_lr(
    hr_dir: Annotated[Path, typer.Argument(help="Read the HR images of this folder.")],
    lr_dir: Annotated[Path, typer.Argument(help="Write the LR images, NAMEx4.png, to this folder.", callback=writable)],
    scale: Annotated[
        int, typer.Option("--scale", min=2, help="How many times smaller LR images are than HR images.")
    ] = 4,
) -> None:
    """Make LR images by the exact MATLAB bicubic; HR is first cut to multiples of the scale, LR by name left out."""
    from eval.data.layouts import image_files
    from eval.data.not_hr import NAMED_LR, left_out_in_words, no_hr_by_name
    from eval.data.shrinking import write_lr_images

    inside = image_files(hr_dir) if hr_dir.is_dir() else []
    if not inside:
        found = why_no_folder(hr_dir) or "none there"
        raise UsageError(f"{hr_dir}: expected a folder with HR images (PNG, JPEG, BMP, WebP or TIFF), found {found}")
    no_hr = no_hr_by_name(inside)
    # Whoever names a folder of such names alone, as of images that were made smaller before, means these.
    paths = [path for path in inside if path not in no_hr] or inside
    write_lr_images(paths, lr_dir, scale)
    told = left_out_in_words(no_hr.items()) if len(paths) < len(inside) else f"; all are {NAMED_LR}" * bool(no_hr)
    typer.echo(f"{counted(len(paths), 'image')} written to {lr_dir}{told}")


fetch_app = new_app()


@fetch_app.callback()
def _fetch() -> None:
    """Download what the project needs; nothing is downloaded otherwise."""


fetch_app.command("weights")(fetch_weights)
fetch_app.command("data")(fetch_data)
