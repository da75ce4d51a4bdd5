"""OpenVINO on the CPU, in float32 or bfloat16.

In bfloat16 it keeps whatever follows the last convolution in float32, that convolution's own output included.
"""

import copy

import torch
from torch import Tensor, nn

from eval.device.clock import Forward
from eval.errors import UsageError
from eval.inference.engines.onnx_graph import onnx_graph
from eval.inference.engines.precision import rounded

_HINTS = {"fp32": "f32", "bf16": "bf16"}


def prepare(network: nn.Module, _device: torch.device, precision: str) -> Forward:
    """Return a forward that runs the network's ONNX graph, with as many threads as torch takes."""
    request = compile_model(network, precision).create_infer_request()

    def forward(x: Tensor) -> Tensor:
        # The request's output is written over by its next run.
        return torch.from_numpy(request.infer([x.numpy()], share_inputs=True, share_outputs=True)[0]).clone()

    return forward


def compile_model(network: nn.Module, precision: str) -> "openvino.CompiledModel":  # noqa: F821
    """Return the network compiled for this CPU.

    Raises:
        UsageError: the processor has no bfloat16; OpenVINO would take float32 without a word.
    """
    import openvino

    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UsageError("--precision bf16: OpenVINO has none on this processor; take fp32 or another engine")
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    if precision == "bf16":
        network = _with_rounded_kernels(network)
    return core.compile_model(core.read_model(onnx_graph(network)), "CPU", settings)


def _with_rounded_kernels(network: nn.Module) -> nn.Module:
    """Return a copy whose kernels are rounded by our rule: OpenVINO's rounding then finds nothing left to do."""
    copied = copy.deepcopy(network)
    for layer in copied.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = rounded(layer.weight.data, torch.bfloat16).float()
    return copied
