"""``python -m eval export``: a network for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from eval.cli.flags import DataDir, Weights, WeightsKey, out
from eval.config import split
from eval.errors import RunError, UsageError


def export_model(
    model_id: Annotated[str, typer.Option("--model_id", help="A model of the zoo, by id or name.")],
    formats: Annotated[
        str, typer.Option("--format", help="Formats, separated by commas: onnx, ncnn, safetensors, hub.")
    ] = "onnx",
    weights: Weights = None,
    weights_key: WeightsKey = None,
    data_dir: DataDir = None,
    dataset: Annotated[str, typer.Option("--dataset", help="Set with HR images on which PSNR is compared.")] = "sample",
    records: Annotated[
        list[Path] | None,
        typer.Option("--records", help="Records whose figures are written to the model card of the hub."),
    ] = None,
    save_dir: Annotated[Path, out("Folder for the files.")] = Path("exported"),
) -> None:
    """Write a network as ONNX, ncnn, safetensors or a folder for the Hugging Face hub, and compare it with torch."""
    from eval.cli.terminal import Terminal
    from eval.data.datasets import open_dataset
    from eval.records.store import find_records
    from eval.report.renderers import to_terminal
    from eval.report.table import Figure, Table
    from eval.run.model_source import zoo_model
    from eval.submission.exporting import FORMATS, Exportable, export
    from eval.zoo.loading import load_network
    from eval.zoo.manifest import find_model

    names = split(formats)
    if not names or set(names) - FORMATS.keys():
        raise UsageError(f"--format {formats}: expected {', '.join(FORMATS)}, or several of them with commas")
    source, images = zoo_model(find_model(model_id), weights, weights_key), open_dataset(data_dir, dataset)
    if source.checkpoint is None:
        raise RunError(f"{source.spec.label}: has no weights, so there is nothing to export")
    if not images.has_hr:
        raise RunError(f"--dataset {dataset}: has no HR images, so PSNR cannot be compared")
    known = find_records(records) if records else []
    exported_weights = source.checkpoint.sha256, weights_key
    own = tuple(its for its in known if (its.model.weights_sha256, its.model.weights_key) == exported_weights)
    exportable = Exportable(source.spec, load_network(source.spec, source.checkpoint), own)
    exported = [export(exportable, name, save_dir, images) for name in names]
    figures = (
        Figure("format", "Format", left=True, of=lambda its: its.format),
        Figure("files", "Files", left=True, of=lambda its: ", ".join(path.name for path in its.files)),
        Figure("largest", "Largest difference", "1e-6 of range", 1, scale=1e-6, of=lambda its: its.largest),
        Figure("torch", "PSNR by torch", "dB", 4, of=lambda its: its.psnr_db and its.psnr_db[0]),
        Figure("other", "exported", "dB", 4, of=lambda its: its.psnr_db and its.psnr_db[1]),
    )
    terminal = Terminal()
    terminal.say(f"{source.spec.label} in {save_dir}, compared on five sizes and on {images.name}")
    terminal.show(to_terminal(Table.about(figures, exported), overflow="fold"))
    for its in exported:
        if its.missing:
            terminal.say(f"{its.format}: not compared with torch: {its.missing} is not installed")
