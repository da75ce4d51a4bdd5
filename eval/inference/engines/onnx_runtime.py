"""ONNX Runtime on the CPU, float32."""

import torch
from torch import Tensor, nn

from eval.device.clock import Forward
from eval.inference.engines.onnx_graph import INPUT, onnx_graph


def prepare(network: nn.Module, _device: torch.device, _precision: str) -> Forward:
    """Return a forward that runs the network's ONNX graph, with as many threads as torch takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(onnx_graph(network), options, providers=["CPUExecutionProvider"])

    def forward(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0])

    return forward
