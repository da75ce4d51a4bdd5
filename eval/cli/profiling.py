"""``python -m eval profile``: where a network's time goes."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.cli.flags import Checkpoint, DataRange, Device, ModelArgs, OfTheZoo, Weights, WeightsKey, out, refuse_idle
from eval.errors import RunError, UsageError, one_reason
from eval.report.table import Figure, Table

if TYPE_CHECKING:
    from eval.config import RunConfig
    from eval.run.model_source import ZooModel
    from eval.run.network_source import NetworkSource
    from eval.submission.profiling import Part, Profile

_SHOWN = 20


def profile_model(
    model_id: OfTheZoo = None,
    weights: Weights = None,
    model_file: Annotated[
        str | None,
        typer.Option(
            "--model_file",
            help="Profile your own network: FILE.py:NAME. It runs without a sandbox: only for code that you trust.",
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    data_range: DataRange = None,
    model_args: ModelArgs = None,
    weights_key: WeightsKey = None,
    size: Annotated[int, typer.Option("--size", min=16, help="Height and width of the LR image.")] = 256,
    passes: Annotated[int, typer.Option("--passes", min=3, help="Number of forward passes; medians are shown.")] = 5,
    device: Device = "auto",
    save_dir: Annotated[Path, out("Folder for profile.json and .png.")] = Path("profile"),
) -> None:
    """Show a network's time by layer and operator, beside the least time possible on this machine, with advice."""
    from eval.cli.terminal import Terminal
    from eval.config import RunConfig
    from eval.records.store import check_writable
    from eval.report.papers.profile_figure import write_profile_figure
    from eval.report.renderers import to_terminal
    from eval.report.tables import write_files
    from eval.run.launch import resolved
    from eval.submission.profiling import first

    of_a_file = {"--checkpoint": checkpoint, "--data_range": data_range, "--model_args": model_args}
    source = _source(model_id, weights, weights_key, model_file, of_a_file)
    check_writable(save_dir)
    config = resolved(RunConfig(device=device, tile=None))
    found = _profiled(source, config, size, passes)
    terminal, shown = Terminal(), first(found, _SHOWN)
    machine = found.machine
    tf32 = f" ({machine.tf32_per_s / 1e9:.0f} in TF32, which convolutions take)" if machine.tf32_per_s else ""
    rates = f"{machine.multiply_adds_per_s / 1e9:.0f} G multiply-adds/s{tf32}, {machine.bytes_per_s / 1e9:.1f} GB/s"
    terminal.say(f"{source.info.label}, {size}x{size} on {config.device}: {1000 * found.whole_s:.2f} ms; {rates}")
    for title, parts in (("Layer", shown.layers), ("Operator", found.kinds)):
        terminal.show(to_terminal(_table(title, parts), overflow="fold"))
    for sentence in found.advice:
        terminal.say(f"- {sentence}")
    paths = write_files(save_dir, {"profile.json": json.dumps(asdict(found), indent=2) + "\n"})
    bars = [(part.name, 1000 * part.time_s, 1000 * part.floor_s) for part in shown.layers]
    write_profile_figure(bars, save_dir / "profile.png", terminal.say)
    terminal.say(f"written: {paths[0]}, {save_dir / 'profile.png'}")


def _profiled(source: "ZooModel | NetworkSource", config: "RunConfig", size: int, passes: int) -> "Profile":
    """Profile a network on a square image of so many pixels a side.

    Raises:
        RunError: its forward fails.
    """
    from eval.data.images import ImageSize
    from eval.metrics.trials import drawn_image
    from eval.submission.profiling import profile

    with source.open(config, ImageSize(size, size)) as upscaler, upscaler.on_device():
        x = drawn_image(size).to(upscaler.device) * upscaler.spec.data_range
        try:
            return profile(upscaler.network, x, passes)
        # A network may raise anything.
        except Exception as error:
            where = f"{source.info.label} on an image of {size}x{size}"
            raise RunError(f"{where}: {one_reason(error)}; --size names another size") from error


def _source(
    model_id: str | None,
    weights: str | None,
    weights_key: str | None,
    model_file: str | None,
    of_a_file: dict[str, Any],
) -> "ZooModel | NetworkSource":
    """Return the network that is meant; one in a file is imported into this process, so it is one's own.

    ``of_a_file`` are the flags that only such a one has, by their names.
    """
    from eval.run.model_source import zoo_model
    from eval.run.network_source import source_of_file
    from eval.zoo.from_file import data_range_of, parse_model_args
    from eval.zoo.manifest import find_model

    if (model_id is None) == (model_file is None):
        raise UsageError("profile: expected either --model_id or --model_file (your own code: it is imported)")
    if model_file is not None:
        refuse_idle({"--weights": weights}, "only with --model_id; a file's weights are named by --checkpoint")
        checkpoint, data_range, model_args = of_a_file.values()
        arguments = parse_model_args(model_args)
        return source_of_file(model_file, checkpoint, data_range_of(data_range), weights_key, arguments)
    refuse_idle(of_a_file, "only with --model_file; weights of the zoo are named by --weights")
    return zoo_model(find_model(str(model_id)), weights, weights_key)


def _table(title: str, parts: "Sequence[Part]") -> Table:
    total_s = sum(part.time_s for part in parts)
    figures = (
        Figure("name", title, left=True, of=lambda part: part.name),
        Figure("kinds", "Operators", left=True, of=lambda part: ", ".join(part.kinds)),
        Figure("time_s", "Time", "ms", 2, scale=1e-3, of=lambda part: part.time_s),
        Figure("share", "Share", "%", 1, scale=0.01, of=lambda part: part.time_s / total_s),
        Figure("flops", "FLOPs", "G", 3, scale=1e9, of=lambda part: part.flops),
        Figure("moved_bytes", "Moved", "MB", 1, scale=1e6, of=lambda part: part.moved_bytes),
        Figure("floor_s", "Floor", "ms", 2, scale=1e-3, of=lambda part: part.floor_s),
        Figure("times_floor", "Times floor", decimals=1, of=lambda part: part.times_floor),
    )
    return Table.about(figures, parts)
