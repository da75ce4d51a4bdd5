"""Networks as files of other programs: ONNX and ncnn, held against what torch gives."""

import contextlib
import importlib
import importlib.util
import io
import math
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.device.pixels import to_tensor, to_uint8
from eval.errors import RunError, UsageError

# Roundings along 54 layers of up to 864 products walk about sqrt(54 x 864) = 216 steps; features stay below 10.
TOLERANCES = {dtype: 216 * 10 * torch.finfo(dtype).eps for dtype in (torch.float64, torch.float32)}
INPUT, OUTPUT = "lr", "sr"
INSTALL = "pip install -e '.[export]'"
_OPSET = 18
# Unequal, and no multiple of the strides.
_PROBE_SIZE = (68, 92)
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Agreement:
    """How well two versions of a network agree on images.

    Attributes:
        largest: largest difference of an output sample as a share of the data range, by type.
        changed: 8-bit samples that differ by float32 rounding.
        samples: 8-bit samples compared.
    """

    largest: dict[torch.dtype, float]
    changed: int
    samples: int


@torch.inference_mode()
def agreement(
    versions: Mapping[torch.dtype, tuple[Forward, Forward]],
    images: Iterable[np.ndarray],
    names: str,
    data_range: float = 1.0,
) -> Agreement:
    """Compare two versions of a network on images.

    Args:
        versions: by the type of their input and output; the last one is float32.
        images: LR images, ``(h, w, 3)`` uint8, of any sizes.
        names: of both versions, for the error.
        data_range: of their input and output.

    Raises:
        RunError: they differ by more than rounding explains, 5e-13 in float64 or 3e-4 in float32.
    """
    largest, changed, samples = dict.fromkeys(versions, 0.0), 0, 0
    for image in images:
        for dtype, (one, other) in versions.items():
            x = to_tensor(image, data_range).to(dtype)
            expected, got = one(x)[0], other(x)[0]
            # numpy's maximum keeps what is no number, where Python's drops it.
            apart = (expected - got).abs().max().item() / data_range
            largest[dtype] = float(np.maximum(largest[dtype], apart))
        if math.isfinite(largest[torch.float32]):
            changed += int((to_uint8(expected, data_range) != to_uint8(got, data_range)).sum())
        samples += expected.numel()
    for dtype, difference in largest.items():
        if not difference <= TOLERANCES[dtype]:
            limit = f"expected at most {TOLERANCES[dtype]:.0e}"
            raise RunError(f"{names} differ by {difference:.1e} in {dtype}; {limit}")
    return Agreement(largest, changed, samples)


def check_onnx() -> None:
    """Refuse an export to ONNX that cannot be done, before anything is computed.

    Raises:
        UsageError: the onnx package is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UsageError(f"--onnx: the onnx package is not installed; {INSTALL}")


def onnx_graph(network: nn.Module) -> bytes:
    """Return a network on the CPU as a serialised ONNX model ``(1, 3, h, w)`` to ``(1, 3, 4h, 4w)``, float32."""
    graph, probe = io.BytesIO(), torch.zeros(1, 3, *_PROBE_SIZE)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        # By tracing: a tenth of the other exporter's time, the same figures, and no further packages.
        torch.onnx.export(
            network,
            (probe,),
            graph,  # pyright: ignore[reportArgumentType]  (without dynamo it may be any file)
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={axes: {2: "height", 3: "width"} for axes in (INPUT, OUTPUT)},
        )
    return graph.getvalue()


def compare_onnx(graph: bytes, network: nn.Module, images: Iterable[np.ndarray]) -> Agreement | None:
    """Compare a graph, run by ONNX Runtime, with its network run by torch; None if that is not installed.

    Raises as ``agreement`` does.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    return agreement({torch.float32: (network, onnx_runner(graph))}, images, "torch and ONNX Runtime")


def onnx_runner(graph: bytes) -> Forward:
    """Return what runs a graph by ONNX Runtime on the CPU; the package has to be there."""
    import onnxruntime  # pyright: ignore[reportMissingImports] of an extra

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0])


def write_ncnn(network: nn.Module, folder: Path, name: str) -> list[Path]:
    """Write a network as ``name.ncnn.param`` and ``.bin`` for images of any size, in float32, by pnnx.

    Raises:
        RunError: pnnx cannot convert it; the message has pnnx's last line.
    """
    with TemporaryDirectory() as scratch, torch.no_grad(), warnings.catch_warnings(action="ignore"):
        with _repeats_as_convolution():
            traced: Any = torch.jit.trace(network, torch.zeros(1, 3, *_PROBE_SIZE), check_trace=False)
        traced.save(f"{scratch}/net.pt")
        shapes = [f"inputshape=[1,3,{_PROBE_SIZE[0]},{_PROBE_SIZE[1]}]f32", "inputshape2=[1,3,64,48]f32"]
        command = [sys.executable, "-c", "import pnnx; pnnx.pnnx()", f"{scratch}/net.pt", *shapes, "fp16=0"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=scratch)
        made = [Path(scratch, f"net.ncnn.{suffix}") for suffix in ("param", "bin")]
        if done.returncode or not all(path.is_file() for path in made):
            said = (done.stderr or done.stdout).strip().splitlines()
            raise RunError(f"{name}: pnnx cannot convert it: {said[-1] if said else 'it said nothing'}")
        targets = [folder / path.name.replace("net", name, 1) for path in made]
        for path, target in zip(made, targets, strict=True):
            shutil.copyfile(path, target)
    return targets


@contextlib.contextmanager
def _repeats_as_convolution() -> Iterator[None]:
    """Make tensors repeat their channels by a 1x1 convolution, which gives the same values and can be converted."""
    owner: Any = Tensor
    plain = owner.repeat_interleave

    def repeat(self: Tensor, repeats: int, dim: int | None = None, **options: Any) -> Tensor:
        if dim != 1 or self.ndim != 4 or not isinstance(repeats, int):
            return plain(self, repeats, dim, **options)
        channels = int(self.shape[1])
        return F.conv2d(self, plain(torch.eye(channels), repeats, 0)[:, :, None, None])

    owner.repeat_interleave = repeat
    try:
        yield
    finally:
        owner.repeat_interleave = plain


def ncnn_runner(files: Sequence[Path]) -> Forward:
    """Return what runs a converted network by ncnn on the CPU, in float32; the package has to be there."""
    # Without types of its own, and of an extra.
    ncnn: Any = importlib.import_module("ncnn")
    net, mat = ncnn.Net(), ncnn.Mat
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    net.load_param(str(files[0]))
    net.load_model(str(files[1]))

    def run(x: Tensor) -> Tensor:
        # A Mat does not keep what it is made of.
        values, extractor = x[0].contiguous().numpy(), net.create_extractor()
        extractor.input("in0", mat(values).clone())
        return torch.from_numpy(np.array(extractor.extract("out0")[1]))[None]

    return run
