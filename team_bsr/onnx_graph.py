"""A network as an ONNX graph for images of any size, which other runtimes read, and its comparison with torch."""

import importlib.util
import io
import warnings
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from eval.data.images import to_tensor, to_uint8
from eval.errors import RunError, UsageError
from team_bsr.export import TOLERANCES, Agreement

INPUT, OUTPUT = "lr", "sr"
INSTALL = "pip install -e '.[export]'"
_OPSET = 18
# Unequal, and no multiple of the strides.
_PROBE_SIZE = (68, 92)


def check_onnx() -> None:
    """Refuse an export that cannot be done, before anything is computed.

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
            graph,
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={axes: {2: "height", 3: "width"} for axes in (INPUT, OUTPUT)},
        )
    return graph.getvalue()


@torch.inference_mode()
def compare_onnx(graph: bytes, network: nn.Module, images: Iterable[np.ndarray]) -> Agreement | None:
    """Compare a graph, run by ONNX Runtime in float32, with the network by torch; None if that is not installed.

    Args:
        graph: as ``onnx_graph`` returns it.
        network: the same network, float32, on the CPU.
        images: LR images, ``(h, w, 3)`` uint8, of any sizes.

    Raises:
        RunError: they differ by more than float32 rounding explains, 3e-4.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    largest, changed, samples, limit = 0.0, 0, 0, TOLERANCES[torch.float32]
    for image in images:
        x = to_tensor(image, 1.0)
        expected, got = network(x)[0], torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0])[0]
        largest = max(largest, (expected - got).abs().max().item())
        changed += int((to_uint8(expected, 1.0) != to_uint8(got, 1.0)).sum())
        samples += expected.numel()
    if largest > limit:
        raise RunError(f"ONNX Runtime and torch differ by {largest:.1e}; expected at most {limit:.0e}")
    return Agreement({torch.float32: largest}, changed, samples)
