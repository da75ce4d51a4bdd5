"""torch's compiler: one graph for all sizes, fused and written as C++ or Triton, kept on disk for the next run."""

import copy
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from eval.cache import cache_folder
from eval.device.clock import Forward
from eval.errors import MissingPartError, RunError
from eval.inference.engines.packages import packaged
from eval.inference.engines.precision import in_precision

# Unequal sides. The first is so large that its graph holds for all larger images; on a GPU networks with maps at a
# sixth of the resolution get a second graph, for less than about 215x215.
PROBE_SIZES = ((232, 264), (136, 152))
# Smaller images run uncompiled: they take little time, and their pooled maps would need graphs of their own.
LEAST_PIXELS = 16000
LEAST_SIDE, LARGEST_SIDE = 32, 16384
_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def prepare(network: nn.Module, device: torch.device, precision: str) -> Forward:
    """Return a forward that is compiled for images of any size: takes half a minute once, seconds from the cache.

    Exporting first leaves no Python between the operators. The graph is that of whole images: it does not know of
    tiles. On a CPU its machine code is kept as a whole; on a GPU torch.compile keeps the kernels alone.

    Raises:
        MissingPartError: there is no compiler for the machine code, or no folder that can keep it.
    """
    try:
        cache = cache_folder("inductor")
    except RunError as error:
        raise MissingPartError(f"--engine compiled: {error}") from error
    copied = copy.deepcopy(in_precision(network, precision, fused=True)).to(device)
    # Exported while its weights are channels first: otherwise half precision puts guards on layouts into the graph.
    program = exported(copied)
    copied.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (torch's overloads leave it out)
    with _compiling_in(cache):
        compiled = _compiled(program, device)

    def forward(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        run = compiled if min(height, width) >= LEAST_SIDE and height * width >= LEAST_PIXELS else copied
        # A copy always: the strides that a batch of one may have otherwise would ask for graphs of their own.
        return run(x.clone(memory_format=torch.channels_last))

    return forward


@contextmanager
def _compiling_in(cache: Path) -> Iterator[None]:
    """Let torch's compiler work in a folder for a block of code, unless a user has named one.

    It cannot name paths with spaces, and works in a folder for once then.
    """
    if _VARIABLE in os.environ:
        yield
        return
    spaced = any(map(str.isspace, str(cache)))
    once = tempfile.TemporaryDirectory(prefix="esr-inductor-", ignore_cleanup_errors=True) if spaced else None
    with once or nullcontext(str(cache)) as folder:
        os.environ[_VARIABLE] = folder
        try:
            yield
        finally:
            os.environ.pop(_VARIABLE, None)


def exported(network: nn.Module) -> ExportedProgram:
    """Return a network as one graph, for any height and width from ``LEAST_SIDE`` to ``LARGEST_SIDE``."""
    limits = {"min": LEAST_SIDE, "max": LARGEST_SIDE}
    sides = {2: torch.export.Dim("height", **limits), 3: torch.export.Dim("width", **limits)}
    probe = torch.zeros(1, 3, *PROBE_SIZES[0], device=next(network.parameters()).device)
    on_cpu = probe.device.type == "cpu"
    if on_cpu:
        # Machine code that is kept takes the strides of this tensor for granted.
        probe = probe.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        # Of some strides in half precision torch cannot prove that they hold for all sizes; so they are checked.
        return torch.export.export(
            network, (probe,), dynamic_shapes=(sides,), prefer_deferred_runtime_asserts_over_guards=on_cpu
        )


def _compiled(program: ExportedProgram, device: torch.device) -> Forward:
    from torch._inductor.exc import InductorError, InvalidCxxCompiler

    try:
        if device.type == "cpu":
            return packaged(program)
        compiled = torch.compile(program.module(), dynamic=True)
        with torch.inference_mode():
            for size in PROBE_SIZES:
                compiled(torch.zeros(1, 3, *size, device=device).clone(memory_format=torch.channels_last))
        return compiled
    # torch wraps what its compiler raises, or not.
    except (InductorError, InvalidCxxCompiler) as error:
        cause = error.inner_exception if isinstance(error, InductorError) else error
        if not isinstance(cause, InvalidCxxCompiler):
            raise
        raise MissingPartError(
            "--engine compiled: needs a C++ compiler; install g++, or use --engine channels-last"
        ) from error
