"""Machine code of exported networks for this processor, kept as a whole: another run neither traces nor compiles."""

import hashlib
import os
import platform
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from eval.cache import cache_folder
from eval.files import atomic_path


def packaged(program: ExportedProgram) -> Callable[[Tensor], Tensor]:
    """Return a program of this processor's machine code, compiled now or before; it takes channels-last tensors.

    Raises:
        RunError: there is no folder that can keep it.
    """
    import torch._inductor as inductor

    path = cache_folder("compiled") / f"{_key(program)}.pt2"
    # What is damaged is made again.
    with suppress(Exception):
        if path.exists():
            return inductor.aoti_load_package(str(path))
    with atomic_path(path) as partial, partial.open("w+b") as file, warnings.catch_warnings():
        # torch's own, of its own; and of headers for Python, which machine code without Python does without.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="Can't find Python.h")
        # Weights become constants of it, laid out as the kernels want them.
        inductor.aoti_compile_and_package(program, package_path=file, inductor_configs={"freezing": True})
    return inductor.aoti_load_package(str(path))


def _key(program: ExportedProgram) -> str:
    """Return the hash of all that machine code depends on: operators, weights, strides, torch, processor, threads."""
    digest = hashlib.sha256()
    strides = [x.stride() for x in program.example_inputs[0]] if program.example_inputs else []
    parts = [program.graph, program.graph_signature, program.range_constraints, strides, torch.__version__]
    for part in (*parts, _processor(), torch.get_num_threads(), os.environ.get("ONEDNN_MAX_CPU_ISA")):
        digest.update(f"{part}\n".encode())
    for name, tensor in {**program.state_dict, **program.constants}.items():
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _processor() -> str:
    """Return what tells a processor's instructions: weights are laid out for those that are there."""
    capability = torch.backends.cpu.get_cpu_capability()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return f"{capability} {line}"
    return f"{capability} {platform.machine()} {platform.processor()}"
