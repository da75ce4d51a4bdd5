"""Training measured: its speed in three forms, the loader, feature scales, the two rules of pruning, and a run's curve.

``python -m bench.training speed``, ``loader --data DIR``, ``scale --data DIR --validate DIR``, ``pruning CKPT ...``,
``curve RUN``; ``steps --data DIR --validate DIR`` is one arm of a comparison of two versions of the code.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from accelerate import Accelerator
from torch import nn

from bench.speed_parts import clocked, interleaved_ms
from eval.cli.program import new_app, run_program
from eval.config import split
from eval.report.renderers import to_markdown
from eval.report.table import Table
from eval.run.environment import device_name
from eval.words import counted
from models.team03_PFDNLite import PFDNLite
from team_bsr.checkpoint import checkpoints, load_checkpoint, load_network, write_weights
from team_bsr.data import open_pairs
from team_bsr.network import TrainingPFDNLite
from team_bsr.patches import PatchBatches, Sampling
from team_bsr.plan import Habits, Plan, Run
from team_bsr.pruning import PRUNED_BLOCKS, RULES, prune
from team_bsr.recipe import Step, chosen_steps, load_recipe
from team_bsr.sources import SCALE, Sources
from team_bsr.survey import survey
from team_bsr.training import train
from team_bsr.validation import open_set, validate

app = new_app()
FORMS = {
    "multi-branch": lambda pruned: TrainingPFDNLite(pruned_blocks=pruned, multi_branch=True),
    "merged": lambda pruned: TrainingPFDNLite(pruned_blocks=pruned),
    "deploy": lambda pruned: PFDNLite(pruned_blocks=pruned),
}
Data = Annotated[list[Path], typer.Option(help="Folder of HR images to train on; may be repeated.")]
Validation = Annotated[list[Path], typer.Option("--validate", help="Set to measure on; may be repeated.")]
SETTINGS = [(dtype, layout) for dtype in ("float32", "bf16") for layout in ("channels-first", "channels-last")]


@app.command()
def speed(
    batch: Annotated[int, typer.Option(help="Patches a step.")] = 16,
    side: Annotated[int, typer.Option(help="LR pixels a side of a patch.")] = 64,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; the median counts.")] = 7,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str | None, typer.Option(help="float32 or bf16; by default both.")] = None,
    layout: Annotated[str | None, typer.Option(help="channels-first or channels-last; by default both.")] = None,
) -> None:
    """Time one step (forward, L1, backward, AdamW) of each form: the rounds are interleaved."""
    where = f"{counted(torch.get_num_threads(), 'thread')}, {device_name(torch.device(device))}"
    typer.echo(f"{batch} patches of {side}x{side} LR, {where}\n")
    settings = [(its, how) for its, how in SETTINGS if its == (precision or its) and how == (layout or how)]
    rows = []
    for stage, pruned in ((1, ()), (2, PRUNED_BLOCKS)):
        for dtype, order in settings:
            steps = {form: _step(build(pruned).to(device), batch, side, dtype, order) for form, build in FORMS.items()}
            times_ms = interleaved_ms({form: clocked(step) for form, step in steps.items()}, rounds)
            rates = [batch / (times_ms[form] / 1e3) for form in FORMS]
            ratios = times_ms["multi-branch"] / times_ms["merged"], times_ms["merged"] / times_ms["deploy"]
            rows.append([stage, dtype, order, *(f"{figure:.2f}" for figure in (*rates, *ratios))])
    headers = ["Stage", "Precision", "Layout", *(f"{form} [patches/s]" for form in FORMS)]
    typer.echo(to_markdown(Table.headed([*headers, "merged gains", "merged / deploy time"], rows, 3)))


def _step(network: nn.Module, batch: int, side: int, dtype: str, layout: str) -> Callable[[], float]:
    """Return a function that takes one optimisation step on a fixed batch of noise and waits for its end."""
    device = next(network.parameters()).device
    memory_format = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    lr = torch.rand(batch, 3, side, side, device=device).contiguous(memory_format=memory_format)
    hr = torch.rand(batch, 3, SCALE * side, SCALE * side, device=device).contiguous(memory_format=memory_format)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)

    def step() -> float:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"):
            sr = network(lr)
        loss = (sr.float() - hr).abs().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


@app.command()
def loader(
    data: Annotated[list[Path], typer.Option(help="Folder of HR images; may be repeated.")],
    preset: Annotated[str | None, typer.Option(help="Preset whose batches are drawn.")] = "cpu",
    batches: Annotated[int, typer.Option(help="Batches to draw of each step.")] = 200,
) -> None:
    """Time drawing patches in one process, from a cache that is already in memory."""
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        pairs = open_pairs(survey(Sources(tuple(data))), Path(cache))
        typer.echo(f"{len(pairs)} images decoded and cached in {time.perf_counter() - started:.1f} s\n")
        for step in load_recipe(preset=preset):
            drawn = PatchBatches(pairs, Sampling(step))
            started = time.perf_counter()
            for iteration in range(batches):
                drawn[iteration]
            rate = batches * step.batch / (time.perf_counter() - started)
            rows.append([step.number, step.batch, step.hr_patch, rate])
    typer.echo(to_markdown(Table.headed(["Step", "Batch", "HR patch", "patches/s"], rows)))


@app.command()
def pruning(
    checkpoint: Path,
    data: Data,
    validation: Validation,
    iterations: Annotated[int, typer.Option(help="Of fine-tuning, by step 4 of the preset cpu.")] = 500,
) -> None:
    """Compare both rules of pruning on a trained network of the first stage: PSNR at once, and after fine-tuning."""
    sets, network = [open_set(folder) for folder in validation], load_network(checkpoint)
    rows = [["not pruned", 0, *_texts(validate(network, sets))]]
    last = load_recipe(preset="cpu")[-1]
    step = replace(last, iterations=iterations, halve_every=max(1, iterations // 5))
    with tempfile.TemporaryDirectory() as folder:
        pairs = open_pairs(survey(Sources(tuple(data))), Path(folder) / "cache")
        for rule in RULES:
            rows.append([rule, 0, *_texts(validate(prune(network, rule), sets))])
            last = _trained((replace(step, rule=rule),), Run(Path(folder) / rule, pairs, start=checkpoint))
            rows.append([rule, iterations, *_texts(validate(load_network(last), sets))])
    names = [f"{dataset.name} [dB]" for dataset in sets]
    typer.echo(to_markdown(Table.headed(["Rule", "Iterations", *names], rows, 1)))


def _trained(steps: tuple[Step, ...], run: Run, seed: int = 0) -> Path:
    """Train steps in bf16 on the CPU, with a checkpoint and a validation at the end of each; return the last one."""
    accelerator, never = Accelerator(cpu=True, mixed_precision="bf16"), sum(step.iterations for step in steps) + 1
    habits = Habits(validate_every=never, checkpoint_every=never)
    return train(Plan(steps, seed, precision="bf16"), habits, run, accelerator)


@app.command()
def scale(
    data: Data,
    validation: Validation,
    settings: Annotated[str, typer.Option(help="SCALE@RATE, separated by commas.")] = "1@1e-3,16@1e-3,16@3e-3",
    iterations: Annotated[int, typer.Option(help="Of each run.")] = 1000,
    optimizer: Annotated[str, typer.Option(help="Of the steps of a recipe: adamw, muon.")] = "adamw",
    schedule: Annotated[str, typer.Option(help="How the rate falls: halving, linear.")] = "halving",
) -> None:
    """Train the pruned network from random weights at feature scales and rates: 16 patches of 128, L1, one seed."""
    sets, rows = [open_set(folder) for folder in validation], []
    recipe = load_recipe(preset="cpu-minutes")[0]
    short = {"halve_every": iterations // 5, "iterations": iterations, "warm_up": 100}
    base = replace(recipe, number=4, stage=2, optimizer=optimizer, schedule=schedule, **short)
    with tempfile.TemporaryDirectory() as folder:
        pairs = open_pairs(survey(Sources(tuple(data))), Path(folder) / "cache")
        for setting in split(settings):
            feature_scale, rate = (float(value) for value in setting.split("@"))
            start = Path(folder) / f"{setting}.safetensors"
            write_weights(_at_scale(feature_scale), start)
            last = _trained((replace(base, rate=rate),), Run(Path(folder) / setting, pairs, start=start))
            rows.append([f"{feature_scale:g}", f"{rate:g}", *_texts(validate(load_network(last), sets))])
    names = [f"{dataset.name} [dB]" for dataset in sets]
    typer.echo(to_markdown(Table.headed(["Feature scale", "Rate", *names], rows, 2)))


def _at_scale(feature_scale: float) -> nn.Module:
    torch.manual_seed(0)
    network = TrainingPFDNLite(pruned_blocks=PRUNED_BLOCKS)
    network.scale_features(feature_scale)
    return network


def _texts(psnrs_db: Mapping[str, float]) -> list[str]:
    return [f"{psnr_db:.3f}" for psnr_db in psnrs_db.values()]


@app.command()
def steps(
    data: Data,
    validation: Validation,
    preset: Annotated[str, typer.Option(help="Preset whose steps are trained.")] = "cpu-minutes",
    numbers: Annotated[str, typer.Option("--steps", help="Which, separated by commas.")] = "1,2,3",
    iterations: Annotated[int, typer.Option(min=1, help="Of all steps, in the shares of the preset.")] = 2000,
    seeds: Annotated[str, typer.Option(help="Of weights and patches, separated by commas; one run each.")] = "0",
) -> None:
    """Train steps of a preset from random weights, shortened, and tell PSNR at the end of each, by seed."""
    sets = [open_set(folder) for folder in validation]
    chosen = chosen_steps(load_recipe(preset=preset), numbers)
    share = iterations / sum(step.iterations for step in chosen)
    short = tuple(_shortened(step, round(step.iterations * share)) for step in chosen)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pairs = open_pairs(survey(Sources(tuple(data))), Path(folder) / "cache")
        for seed in split(seeds):
            run = Run(Path(folder) / seed, pairs, sets)
            _trained(short, run, int(seed))
            for state in map(load_checkpoint, checkpoints(run.folder)):
                rows.append([seed, state["step"], state["iteration"], *_texts(state["psnr_db"])])
    names = [f"{dataset.name} [dB]" for dataset in sets]
    typer.echo(to_markdown(Table.headed(["Seed", "Step", "Iterations", *names], rows, 1)))


def _shortened(step: Step, iterations: int) -> Step:
    """Return a step of fewer iterations; a rate that halves does so at each fifth of them, as over all."""
    return replace(step, iterations=max(1, iterations), halve_every=max(1, iterations // 5))


@app.command()
def curve(
    run_dir: Path,
    out: Annotated[Path, typer.Option(help="SVG, PDF or PNG file.")],
    dataset: Annotated[str, typer.Option(help="Validation set whose PSNR is drawn.")] = "Set14",
    floor: Annotated[float, typer.Option(help="PSNR of bicubic [dB].")] = 24.46,
    released: Annotated[float, typer.Option(help="PSNR of the released weights [dB].")] = 26.75,
) -> None:
    """Draw a run's validation PSNR over its iterations, step by step, from its TensorBoard files."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    mpl.rcParams |= {"svg.hashsalt": "training", "font.family": "sans-serif"}
    events = EventAccumulator(str(run_dir)).Reload()
    figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    begun = 0
    for tag in sorted(tag for tag in events.Tags()["scalars"] if tag.endswith(f"psnr_db/{dataset}")):
        points = events.Scalars(tag)
        label = tag.partition("/")[0].replace("step", "step ")
        axes.plot([begun + point.step for point in points], [point.value for point in points], marker=".", label=label)
        begun += points[-1].step
    axes.axhline(released, color="#888888", linestyle="--", label="released weights")
    axes.axhline(floor, color="#888888", linestyle=":", label="bicubic")
    axes.set(xlabel="Iteration", ylabel=f"PSNR on {dataset} [dB]")
    axes.legend(frameon=False, loc="lower right")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    run_program(app)
