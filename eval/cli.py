"""``python -m eval``: one thin function a command."""

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import typer

from eval import table1 as table1_measurement
from eval.aa import Subject, run_trial
from eval.audit import audit as audit_results
from eval.checkpoints import download_cache
from eval.datasets import SAMPLE, open_dataset
from eval.editions import GateRule, find_edition
from eval.entries import entries_from, measured_baseline, published_baseline, select
from eval.environment import describe_environment
from eval.errors import RunError, UsageError
from eval.fetch import fetch_checkpoint
from eval.images import read_image, write_png
from eval.layouts import image_files
from eval.options import (
    DEFAULT_SAVE_DIR,
    DataDir,
    Datasets,
    Device,
    NoImages,
    PresetOption,
    ProtocolOption,
    Runs,
    SaveDir,
    Seed,
    Ssim,
    Threads,
    Tile,
    TileOverlap,
    parse_tile,
    split,
)
from eval.program import FAILURE_EXIT, new_app
from eval.published import read_results
from eval.record import Protocol, find_records
from eval.report import audit as audit_report
from eval.report import score as score_report
from eval.report.aa import markdown, summary
from eval.report.columns import newest
from eval.report.table1 import notes, read_table1, terminal_table
from eval.report.tables import tables_of, write_files, write_report
from eval.report.terminal import Terminal
from eval.report.zoo import zoo_table
from eval.resize import imresize
from eval.scoring import rank
from eval.session import AUTO, Options, Session, find_weights
from eval.steady import PRESETS
from eval.zoo import ModelSpec, all_models, find_model

app = new_app()
fetch_app = typer.Typer(help="Download what the project needs; nothing is downloaded otherwise.")
app.add_typer(fetch_app, name="fetch")

Models = Annotated[str, typer.Option("--models", help="Ids or names, separated by commas, or 'all'.")]


@app.callback()
def describe() -> None:
    """Evaluate x4 super-resolution networks by the Efficient Super-Resolution challenge's rules."""


@app.command("models")
def list_models() -> None:
    """List the zoo: complexity, and which weights are on this machine."""
    Terminal().show(zoo_table(all_models()))


@fetch_app.command("weights")
def fetch_weights(
    model_id: Annotated[str | None, typer.Option("--model_id", help="Ids or names, separated by commas.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The weights of every model.")] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Folder to download to, instead of the cache.")] = None,
) -> None:
    """Download published weights, check their SHA-256, and keep them in the download cache."""
    if (model_id is None) == (not every):
        raise UsageError("fetch weights: give either --model_id or --all")
    specs = list(all_models()) if every else [find_model(key) for key in split(model_id)]
    failures = []
    for known in [known for spec in specs for known in spec.checkpoints if known.url]:
        try:
            typer.echo(f"{known.file}: {fetch_checkpoint(known, to or download_cache())}")
        except (RunError, OSError) as error:
            failures.append(str(error))
    if failures:
        raise RunError("\n".join(failures))


@app.command("run")
def run_models(
    models: Models = "3",
    data_dir: DataDir = None,
    datasets: Datasets = None,
    save_dir: SaveDir = DEFAULT_SAVE_DIR,
    ssim: Ssim = False,
    device: Device = AUTO,
    tile: Tile = AUTO,
    tile_overlap: TileOverlap = None,
    protocol: ProtocolOption = Protocol.OFFICIAL,
    runs: Runs = 1,
    preset: PresetOption = "rapid",
    seed: Seed = 0,
    threads: Threads = None,
    no_images: NoImages = False,
) -> None:
    """Run several models on several sets; the table shows them all."""
    options = Options(
        save_dir=save_dir,
        device=device,
        protocol=protocol,
        tile=parse_tile(tile),
        tile_overlap=tile_overlap,
        with_ssim=ssim,
        save_images=not no_images,
        threads=threads,
        runs=runs,
        preset=preset,
        seed=seed,
    )
    session = Session(options)
    chosen = _chosen(models)
    checkpoints = [find_weights(spec) for spec in chosen]
    opened = session.open(data_dir, split(datasets) or [None])
    session.run_all(list(zip(chosen, checkpoints, strict=True)), opened)
    session.finish(valid=opened[0].name)


def _chosen(models: str) -> list[ModelSpec]:
    return list(all_models()) if models == "all" else [find_model(key) for key in split(models)]


@app.command("table1")
def table1(
    data_dir: DataDir = None,
    datasets: Datasets = None,
    save_dir: SaveDir = DEFAULT_SAVE_DIR,
    device: Device = AUTO,
    tile: Tile = AUTO,
    threads: Threads = None,
) -> None:
    """Measure the factsheet's Table 1 and print it beside the published figures; by default all sets that are here."""
    models, sets = read_table1()
    asked = split(datasets)
    unknown = [name for name in asked if name not in {row.name for row in sets}]
    if unknown:
        raise UsageError(f"--datasets {','.join(unknown)}: Table 1 has {', '.join(row.name for row in sets)}")
    chosen = [row for row in sets if not asked or row.name in asked]
    session = Session(
        Options(save_dir, device, Protocol.ACCURACY, parse_tile(tile), save_images=False, threads=threads)
    )
    cells = table1_measurement.measure(session, models, chosen, data_dir)
    session.terminal.show(terminal_table(cells))
    for note in notes(cells):
        session.terminal.say(note)
    paths = table1_measurement.write(cells, save_dir)
    session.terminal.say(f"written: {', '.join(map(str, paths))}")
    measured = [cell.measured_db is not None for cell in cells]
    if not (all(measured) if asked else any(measured)):
        raise typer.Exit(FAILURE_EXIT)


@app.command("report")
def report(
    records: Annotated[list[Path], typer.Argument(help="Records, folders of them, or folders given as --save_dir.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for leaderboard.md, .csv and .tex.")] = DEFAULT_SAVE_DIR,
) -> None:
    """Make the leaderboard of records: the newest complete one of each model, set, protocol and device."""
    chosen = newest(find_records(records))
    if not chosen:
        raise RunError(f"no complete record in {', '.join(map(str, records))}")
    terminal = Terminal()
    for (dataset, protocol, device), rows in tables_of(chosen):
        terminal.say(f"{dataset}, {rows[0].dataset.num_images} images, protocol {protocol}, {device}")
        terminal.table(rows)
    terminal.say(f"written: {', '.join(map(str, write_report(chosen, out)))}")


@app.command("score")
def score(
    records: Annotated[list[Path], typer.Argument(help="Records, folders of them, or folders given as --save_dir.")],
    edition: Annotated[int, typer.Option("--edition", help="Year whose rules count.")],
    gate: Annotated[GateRule, typer.Option("--gate", help="PSNR as printed, or unrounded.")] = "rounded",
    baseline: Annotated[
        Literal["measured", "published"], typer.Option("--baseline", help="Whose figures the baseline's are.")
    ] = "measured",
    datasets: Annotated[str | None, typer.Option("--datasets", help="Only records of these sets.")] = None,
    protocol: Annotated[Protocol | None, typer.Option("--protocol", help="Only records of this protocol.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="Only records of this device: cpu, cuda.")] = None,
    save_dir: Annotated[Path, typer.Option("--save_dir", help="Folder for score.md, .csv, .tex.")] = DEFAULT_SAVE_DIR,
) -> None:
    """Rank models by the challenge's rules: gates, scores, main track and sub-tracks, and how settled ranks are."""
    rules = find_edition(edition)
    chosen = select(find_records(records), split(datasets), protocol, device)
    unfinished = [record for record in chosen if not record.complete]
    measured = entries_from([*newest(chosen), *unfinished], rules)
    published = baseline == "published"
    reference = published_baseline(rules, measured.roles) if published else measured_baseline(measured, rules)
    scored = score_report.Scored(rank(measured.entries, rules, reference, gate), measured)
    terminal = Terminal()
    for table in score_report.terminal_tables(scored):
        terminal.show(table)
    for note in score_report.notes(scored):
        terminal.say(note)
    terminal.say(f"written: {', '.join(map(str, score_report.write(scored, save_dir)))}")


@app.command("audit")
def audit(
    file: Annotated[Path, typer.Argument(help="A results.json of the challenge's test_demo.py.")],
    edition: Annotated[
        int | None, typer.Option("--edition", help="Year whose gates and scores count; told by the baseline if absent.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for audit.md and audit.json.")] = DEFAULT_SAVE_DIR,
) -> None:
    """Show what a published results.json hides: cold starts, near-misses, uncounted work, unsettled orders."""
    rules = None if edition is None else find_edition(edition, for_ranking=False)
    found = audit_results(file.name, read_results(file), rules)
    terminal = Terminal()
    typer.echo(audit_report.recomputed_table(found))
    for title, table in audit_report.terminal_tables(found):
        terminal.say(title)
        terminal.show(table)
    for finding in audit_report.findings(found):
        terminal.say(f"- {finding}")
    terminal.say(f"written: {', '.join(map(str, audit_report.write(found, out)))}")


@app.command("aa")
def aa(
    model_id: Annotated[str, typer.Option("--model_id", help="Id or name.")] = "3",
    data_dir: DataDir = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Set by name.")] = SAMPLE,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="How often.")] = 40,
    preset: PresetOption = "rapid",
    device: Device = AUTO,
    threads: Threads = None,
    save_dir: SaveDir = DEFAULT_SAVE_DIR,
) -> None:
    """Time a model against itself by the steady protocol: its intervals must cover a ratio of 1."""
    session = Session(Options(save_dir, device, Protocol.STEADY, threads=threads))
    spec = find_model(model_id)
    subject = Subject(spec, find_weights(spec), open_dataset(data_dir, dataset), session.device)
    with session.terminal.progress(spec.label, repeats, "repeats") as on_repeat:
        trial = run_trial(subject, PRESETS[preset], repeats, on_repeat)
    for line in summary(trial):
        session.terminal.say(line)
    environment = describe_environment(session.device)
    facts = [
        f"{spec.label} against itself, {len(subject.dataset.pairs)} images of {subject.dataset.name}, preset {preset}",
        f"{environment.gpu or environment.cpu}, {environment.threads} thread(s), torch {environment.torch}",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {environment.commit}",
    ]
    paths = write_files(save_dir, {"aa.md": markdown("A model against itself", facts, trial)})
    session.terminal.say(f"written: {paths[0]}")
    if not trial.passed:
        raise typer.Exit(FAILURE_EXIT)


@app.command("make-lr")
def make_lr(
    hr_dir: Annotated[Path, typer.Argument(help="Folder of HR images.")],
    lr_dir: Annotated[Path, typer.Argument(help="Folder for the LR images, NAMEx4.png.")],
    scale: Annotated[int, typer.Option("--scale", min=2, help="How many times smaller.")] = 4,
) -> None:
    """Make LR images by the exact MATLAB bicubic; HR is first cut to multiples of the scale."""
    paths = image_files(hr_dir) if hr_dir.is_dir() else []
    if not paths:
        raise UsageError(f"{hr_dir}: no folder with images")
    for path in paths:
        hr = read_image(path)
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        write_png(lr_dir / f"{path.stem}x{scale}.png", imresize(hr, Fraction(1, scale)))
    typer.echo(f"{len(paths)} images written to {lr_dir}")
