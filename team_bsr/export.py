"""From a training checkpoint to files that ship: fuse, verify, write, and describe."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from eval.data.datasets import Dataset, open_dataset
from eval.data.finding import SAMPLE
from eval.errors import UsageError
from eval.files import write_whole
from eval.submission import graphs
from eval.words import counted
from eval.zoo.checkpoints import file_sha256
from models.team03_PFDNLite import PFDNLite
from team_bsr.checkpoint import build_network, load_checkpoint, weights_content
from team_bsr.network import TrainingPFDNLite, reparameterize
from team_bsr.outputs import check_outputs, keep_zoo_whole
from team_bsr.validation import open_set

EXPORTED = Path("pfdnlite_exported.safetensors")


def verify(network: TrainingPFDNLite, images: Iterable[np.ndarray]) -> graphs.Agreement:
    """Compare the fused network with the branches run one by one; raises as ``agreement`` does."""
    branches = TrainingPFDNLite(network.channels, network.pruned_blocks, multi_branch=True)
    branches.load_state_dict(network.state_dict())
    fused = {dtype: reparameterize(network.to(dtype)) for dtype in graphs.TOLERANCES}
    versions = {dtype: (lambda x: branches.to(x.dtype)(x), fused[dtype]) for dtype in graphs.TOLERANCES}
    return graphs.agreement(versions, images, "fused and unfused")


def manifest_row(path: Path, name: str) -> str:
    """Return the lines that make a file of weights known to the zoo."""
    return (
        f'[[model.checkpoints]]\nname = "{name}"\nfile = "{path.name}"\n'
        f'sha256 = "{file_sha256(path)}"\nbytes = {path.stat().st_size}\n'
    )


def export_command(
    checkpoint: Annotated[Path, typer.Argument(help="Read this checkpoint of the second stage.")],
    weights: Annotated[Path, typer.Option(help="Write the weights to this file.")] = EXPORTED,
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
    check_outputs({"--weights": weights, "--training": training, "--onnx": onnx}, checkpoint)
    if onnx is not None:
        keep_zoo_whole(onnx, flag="--onnx")
        graphs.check_onnx()
    state = load_checkpoint(checkpoint)
    network = build_network(state)
    if not isinstance(network, TrainingPFDNLite) or not network.pruned_blocks:
        raise UsageError(f"{checkpoint}: expected PFDNLite of the second stage; prune it, or use fuse")
    fused, unfused = weights_content(reparameterize(network)), _training_content(network, state)
    for flag, path, content in (("--weights", weights, fused), ("--training", training, unfused)):
        if path is not None:
            keep_zoo_whole(path, content, flag)
    dataset = open_set(images, "--images", needs_hr=False) if images else open_dataset(None, SAMPLE)
    agreement = verify(network, (pair.read()[0] for pair in dataset.pairs))
    for dtype, largest in agreement.largest.items():
        typer.echo(
            f"fused - unfused on {counted(len(dataset.pairs), 'image')} of {dataset.name}, {dtype}: {largest:.1e}"
        )
    typer.echo(f"8-bit samples changed by fusing in float32: {agreement.changed} of {agreement.samples}")
    write_whole(weights, fused)
    if training is not None:
        write_whole(training, unfused)
        typer.echo(f"{training}: {training.stat().st_size} bytes, to go on from by train --start")
    if onnx is not None:
        _write_onnx(reparameterize(network.float()), onnx, dataset)
    of = f"step {state['step']}, iteration {state['iteration']}" if "step" in state else "pruned, not trained since"
    typer.echo(f"{weights}: {of}\n\n{manifest_row(weights, name)}")


def _training_content(network: TrainingPFDNLite, state: dict[str, Any]) -> bytes:
    """Return the file of a training form in float16, which says where it comes from."""
    facts = {"step": state.get("step"), "iteration": state.get("iteration"), "recipe": state.get("plan")}
    return weights_content(network, torch.float16, {key: json.dumps(value) for key, value in facts.items()})


def _write_onnx(deploy: PFDNLite, path: Path, dataset: Dataset) -> None:
    graph = graphs.onnx_graph(deploy)
    agreement = graphs.compare_onnx(graph, deploy, (pair.read()[0] for pair in dataset.pairs))
    write_whole(path, graph)
    typer.echo(
        f"{path}: {len(graph)} bytes, ONNX of {graphs.INPUT} (1, 3, h, w) to {graphs.OUTPUT} (1, 3, 4h, 4w), float32"
    )
    if agreement is None:
        typer.echo(f"not compared with torch: onnxruntime is not installed; {graphs.INSTALL}")
        return
    largest = agreement.largest[torch.float32]
    typer.echo(f"ONNX Runtime - torch on {counted(len(dataset.pairs), 'image')} of {dataset.name}: {largest:.1e}")
    typer.echo(f"8-bit samples changed by it: {agreement.changed} of {agreement.samples}")
