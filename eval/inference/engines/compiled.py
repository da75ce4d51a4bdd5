"""torch.compile: one graph for all sizes, fused and written as C++ or Triton, kept on disk for the next run."""

import copy
import os

import torch
from torch import Tensor, nn

from eval.cache import cache_folder
from eval.device.clock import Forward
from eval.errors import EngineError, RunError
from eval.inference.engines.precision import in_precision

# Unequal sides. The first is so large that its graph holds for all larger images; torch takes other convolutions for
# small maps, so networks with maps at a sixth of the resolution get a second graph, for less than about 215x215.
PROBE_SIZES = ((232, 264), (136, 152))
# Smaller images run uncompiled: they take little time, and their pooled maps would need graphs of their own.
LEAST_PIXELS = 16000
LEAST_SIDE, LARGEST_SIDE = 32, 16384


def prepare(network: nn.Module, device: torch.device, precision: str) -> Forward:
    """Return a forward that is compiled for images of any size; takes some 20 s once, seconds from the cache.

    Exporting first leaves no Python between the operators, where torch.compile would break the graph. The graph is that
    of whole images: it does not know of tiles.

    Raises:
        EngineError: there is no compiler for the machine code, or no folder that can keep it.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        try:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder("inductor"))
        except RunError as error:
            raise EngineError(f"--engine compiled: {error}") from error
    from torch._inductor.exc import InductorError, InvalidCxxCompiler

    copied = copy.deepcopy(in_precision(network, precision, fused=True)).to(device)
    # Exported while its weights are channels first: otherwise half precision puts guards on layouts into the graph.
    graph = exported(copied)
    copied.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (torch's overloads leave it out)
    # Its weights become constants of the graph, laid out as the kernels want them.
    compiled = torch.compile(graph, dynamic=True, options={"freezing": device.type == "cpu"})

    def forward(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        run = compiled if min(height, width) >= LEAST_SIDE and height * width >= LEAST_PIXELS else copied
        # A copy always: the strides that a batch of one may have otherwise would ask for graphs of their own.
        return run(x.clone(memory_format=torch.channels_last))

    try:
        with torch.inference_mode():
            for size in PROBE_SIZES:
                forward(torch.zeros(1, 3, *size, device=device))
    # torch wraps what its compiler raises.
    except InductorError as error:
        if not isinstance(error.inner_exception, InvalidCxxCompiler):
            raise
        raise EngineError(
            "--engine compiled: needs a C++ compiler; install g++, or use --engine channels-last"
        ) from error
    return forward


def exported(network: nn.Module) -> nn.Module:
    """Return a network as one graph, for any height and width from ``LEAST_SIDE`` to ``LARGEST_SIDE``."""
    sides = {
        axis: torch.export.Dim(name, min=LEAST_SIDE, max=LARGEST_SIDE) for axis, name in ((2, "height"), (3, "width"))
    }
    probe = torch.zeros(1, 3, *PROBE_SIZES[0], device=next(network.parameters()).device)
    with torch.no_grad():
        return torch.export.export(network, (probe,), dynamic_shapes=(sides,)).module()
