"""From a training checkpoint to files that ship: fuse or write as ONNX, verify, and describe."""

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from eval.data.images import to_tensor, to_uint8
from eval.errors import RunError, UsageError
from eval.zoo.checkpoints import file_sha256
from team_bsr.network import TrainingPFDNLite, reparameterize

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
        largest: largest difference of an output sample in [0, 1], by type.
        changed: 8-bit samples that differ by float32 rounding.
        samples: 8-bit samples compared.
    """

    largest: dict[torch.dtype, float]
    changed: int
    samples: int


@torch.inference_mode()
def agreement(
    versions: Mapping[torch.dtype, tuple[Forward, Forward]], images: Iterable[np.ndarray], names: str
) -> Agreement:
    """Compare two versions of a network on images.

    Args:
        versions: by the type of their input and output; the last one is float32.
        images: LR images, ``(h, w, 3)`` uint8, of any sizes.
        names: of both versions, for the error.

    Raises:
        RunError: they differ by more than rounding explains, 5e-13 in float64 or 3e-4 in float32.
    """
    largest, changed, samples = dict.fromkeys(versions, 0.0), 0, 0
    for image in images:
        for dtype, (one, other) in versions.items():
            x = to_tensor(image, 1.0).to(dtype)
            expected, got = one(x)[0], other(x)[0]
            largest[dtype] = max(largest[dtype], (expected - got).abs().max().item())
        changed += int((to_uint8(expected, 1.0) != to_uint8(got, 1.0)).sum())
        samples += expected.numel()
    for dtype, difference in largest.items():
        if difference > TOLERANCES[dtype]:
            limit = f"expected at most {TOLERANCES[dtype]:.0e}"
            raise RunError(f"{names} differ by {difference:.1e} in {dtype}; {limit}")
    return Agreement(largest, changed, samples)


def verify(network: TrainingPFDNLite, images: Iterable[np.ndarray]) -> Agreement:
    """Compare the fused network with the branches run one by one; raises as ``agreement`` does."""
    branches = TrainingPFDNLite(network.channels, network.pruned_blocks, multi_branch=True)
    branches.load_state_dict(network.state_dict())
    fused = {dtype: reparameterize(network.to(dtype)) for dtype in TOLERANCES}
    versions = {dtype: (lambda x: branches.to(x.dtype)(x), fused[dtype]) for dtype in TOLERANCES}
    return agreement(versions, images, "fused and unfused")


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
    with torch.no_grad(), warnings.catch_warnings():
        # By tracing: a tenth of the other exporter's time, the same figures, and no further packages.
        warnings.simplefilter("ignore")
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
    import onnxruntime  # pyright: ignore[reportMissingImports] of an extra

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0])

    return agreement({torch.float32: (network, run)}, images, "torch and ONNX Runtime")


def manifest_row(path: Path, name: str = "selftrained") -> str:
    """Return the lines that make a file of weights known to the zoo."""
    return (
        f'[[model.checkpoints]]\nname = "{name}"\nfile = "{path.name}"\n'
        f'sha256 = "{file_sha256(path)}"\nbytes = {path.stat().st_size}\n'
    )
