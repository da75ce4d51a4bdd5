"""Exports of a network, one row a format; each is held against torch before it counts."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
import safetensors.torch
import torch
from torch import nn

from eval.data.datasets import Dataset
from eval.device.pixels import to_tensor, to_uint8
from eval.errors import RunError, UsageError, one_reason
from eval.files import module_of, write_whole
from eval.metrics.psnr_ssim import psnr
from eval.metrics.trials import drawn_image
from eval.records.record import Record
from eval.submission.graphs import INSTALL, Forward, agreement, ncnn_runner, onnx_graph, onnx_runner, write_ncnn
from eval.submission.hub import write_hub
from eval.zoo.manifest import ModelSpec

# Of LR images: square, unequal, odd, and no multiple of the strides.
SIZES = ((64, 64), (48, 80), (33, 47), (17, 130), (121, 40))
_SAME_DB = 1e-3


@dataclass(frozen=True)
class Exportable:
    """A network of the zoo with its weights, on the CPU, and the records of it."""

    spec: ModelSpec
    network: nn.Module
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Exported:
    """Files, and how they agree with torch: largest share of the data range, and both PSNRs in dB.

    The figures are None where no program that runs the format is here; then ``missing`` says which.
    """

    format: str
    files: tuple[Path, ...]
    largest: float | None = None
    psnr_db: tuple[float, float] | None = None
    missing: str = ""


@dataclass(frozen=True)
class Format:
    """One row: what writes it, what runs it, and the packages that each needs."""

    write: Callable[[Exportable, Path], list[Path]]
    run: Callable[[Exportable, Sequence[Path]], Forward]
    writes_by: tuple[str, ...] = ()
    runs_by: tuple[str, ...] = ()


def export(exportable: Exportable, format_name: str, folder: Path, dataset: Dataset) -> Exported:
    """Write a network in a format and compare what runs it with torch, on five sizes and on a set.

    Raises:
        UsageError: a package is missing.
        RunError: it cannot be converted, or gives other images.
    """
    row = FORMATS[format_name]
    if missing := _missing(row.writes_by):
        raise UsageError(f"--format {format_name}: needs {', '.join(missing)}, which is not installed; {INSTALL}")
    folder.mkdir(parents=True, exist_ok=True)
    # In place are files that were compared, and no others.
    with TemporaryDirectory(prefix=".export-", dir=folder) as aside:
        with _refused(f"{exportable.spec.label} cannot be exported as {format_name}"):
            files = tuple(row.write(exportable, Path(aside)))
        if missing := _missing(row.runs_by):
            exported = Exported(format_name, files, missing=", ".join(missing))
        else:
            with _refused(f"{exportable.spec.label} cannot be run as {format_name}"):
                exported = _compared(exportable, format_name, files, dataset)
        for path in [path for path in Path(aside).rglob("*") if path.is_file()]:
            target = folder / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        return replace(exported, files=tuple(folder / path.relative_to(aside) for path in files))


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turn the errors of a converter, or of a program that runs its files into a ``RunError``."""
    try:
        yield
    except (UsageError, RunError, OSError):
        raise
    except Exception as error:
        raise RunError(f"{what}: {one_reason(error)}") from error


def _compared(exportable: Exportable, format_name: str, files: tuple[Path, ...], dataset: Dataset) -> Exported:
    """Return what was written, once it gives torch's images."""
    run, data_range = FORMATS[format_name].run(exportable, files), exportable.spec.data_range
    drawn = to_uint8(drawn_image(max(max(size) for size in SIZES))[0], 1.0)
    images = [np.ascontiguousarray(drawn[:height, :width]) for height, width in SIZES]
    agreed = agreement({torch.float32: (exportable.network, run)}, images, f"torch and {format_name}", data_range)
    own, exported = (_mean_psnr(forward, dataset, data_range) for forward in (exportable.network, run))
    if abs(own - exported) > _SAME_DB:
        figures = f"{exported:.4f} dB on {dataset.name}, torch {own:.4f}"
        raise RunError(f"{format_name}: {figures}; expected the same to {_SAME_DB}")
    return Exported(format_name, files, agreed.largest[torch.float32], (own, exported))


def _missing(packages: Sequence[str]) -> list[str]:
    return [name for name in packages if importlib.util.find_spec(name) is None]


@torch.inference_mode()
def _mean_psnr(forward: Forward, dataset: Dataset, data_range: float) -> float:
    pairs = (pair.read() for pair in dataset.pairs)
    images = ((to_uint8(forward(to_tensor(lr, data_range))[0], data_range), hr) for lr, hr in pairs if hr is not None)
    return fmean(psnr(sr, hr) for sr, hr in images)


def _write_onnx(exportable: Exportable, folder: Path) -> list[Path]:
    onnx = importlib.import_module("onnx")
    graph = onnx_graph(exportable.network)
    onnx.checker.check_model(onnx.load_model_from_string(graph), full_check=True)
    write_whole(path := folder / f"{exportable.spec.label}.onnx", graph)
    return [path]


def _write_safetensors(exportable: Exportable, folder: Path) -> list[Path]:
    content = safetensors.torch.save(exportable.network.state_dict())
    write_whole(path := folder / f"{exportable.spec.label}.safetensors", content)
    return [path]


def _run_safetensors(exportable: Exportable, files: Sequence[Path]) -> Forward:
    network = exportable.spec.build()
    network.load_state_dict(safetensors.torch.load_file(files[0]), strict=True)
    return network


def _run_hub(exportable: Exportable, files: Sequence[Path]) -> Forward:
    module = module_of(files[0], f"hub_{exportable.spec.label}")
    return getattr(module, exportable.spec.target.partition(":")[2]).from_pretrained(files[0].parent).eval()


FORMATS = {
    "onnx": Format(
        _write_onnx, lambda _, files: onnx_runner(files[0].read_bytes()), writes_by=("onnx",), runs_by=("onnxruntime",)
    ),
    "ncnn": Format(
        lambda its, folder: write_ncnn(its.network, folder, its.spec.label),
        lambda _, files: ncnn_runner(files),
        writes_by=("pnnx",),
        runs_by=("ncnn",),
    ),
    "safetensors": Format(_write_safetensors, _run_safetensors),
    "hub": Format(
        lambda its, folder: write_hub(its.spec, its.network, its.records, folder / f"{its.spec.label}-hub"),
        _run_hub,
        runs_by=("huggingface_hub",),
    ),
}
