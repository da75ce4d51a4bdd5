"""Networks of known weights on a known input, by every engine, against answers that come with the project.

The weights are drawn by a generator that numpy has frozen, so nothing has to be downloaded, and a fault in a network's
code, in torch, in an engine or in the processor changes the output. An output is told by its dot products with vectors
of +1 and -1, which every one of its samples takes part in.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eval.device.numerics import cudnn_switches
from eval.doctor.findings import Finding, judged, noted
from eval.errors import EngineError, MissingPartError
from eval.inference.engines.preparing import prepare
from eval.inference.engines.registry import ENGINES, Execution
from eval.toml_files import toml_of
from eval.zoo.manifest import ModelSpec, find_model

KNOWN_FILE = Path(__file__).with_name("known.toml")
# Large enough that the compiled engine runs its graph, and not the network as it is.
_LR_SHAPE = (1, 3, 136, 152)
_PROJECTIONS = 4
# Of what the sums of a network round to, in parts of its output's standard deviation: a random walk over the additions
# on the way to a sample in float32, over the layers where each rounds its input to half precision.
_ADDITIONS, _LAYERS = 40_000, 40
_TOLERANCES = {
    "fp32": math.sqrt(_ADDITIONS) * torch.finfo(torch.float32).eps,
    "fp16": math.sqrt(_LAYERS) * torch.finfo(torch.float16).eps,
    "bf16": math.sqrt(_LAYERS) * torch.finfo(torch.bfloat16).eps,
}


def check_networks(device: torch.device, every: bool) -> Iterator[Finding]:
    """Run the known networks by each engine for a device that needs no compiler, in float32.

    ``every`` takes the engines that compile too, and all precisions.
    """
    for name, answers in toml_of(KNOWN_FILE).items():
        spec = find_model(name)
        for execution in _executions(device, every):
            yield _checked(spec, answers, execution, device)


def _executions(device: torch.device, every: bool) -> Iterator[Execution]:
    for name, engine in ENGINES.items():
        if device.type in engine.devices and engine.is_here and (every or not engine.compiles):
            yield from (Execution(name, precision) for precision in (engine.precisions if every else ("fp32",)))


def _checked(spec: ModelSpec, answers: dict[str, Any], execution: Execution, device: torch.device) -> Finding:
    what = f"{spec.name}, {execution.engine}, {execution.precision}"
    network, x = known_network(spec).to(device), known_input(spec).to(device)
    try:
        with torch.inference_mode(), cudnn_switches(tf32=False):
            sr = prepare(network, device, execution)(x)
    except MissingPartError as error:
        return noted(what, str(error))
    except EngineError as error:
        return judged(what, False, str(error))
    offs = [abs(its - answer) for its, answer in zip(projections(sr), answers["projections"], strict=True)]
    # Projections are of an output of spread 1, whatever its own is.
    off = float(np.max([*offs, abs(spread_of(sr) / answers["spread"] - 1)]))
    tolerance = _TOLERANCES[execution.precision]
    # A value that is not a number is within no tolerance.
    return judged(what, off <= tolerance, f"off by {off:.1e} of {tolerance:.1e} that rounding may take")


def known_network(spec: ModelSpec) -> nn.Module:
    """Return a network of the zoo in float32 with weights drawn from a fixed seed."""
    network, random = spec.build().eval(), np.random.RandomState(0)
    for _, parameter in sorted(network.named_parameters()):
        # Weights keep the size of what goes through them; of biases, gates must not all be closed.
        spread = 1 / math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 1.0
        parameter.data = torch.from_numpy(random.standard_normal(parameter.shape) * spread).float()
    return network.requires_grad_(False)


def known_input(spec: ModelSpec) -> Tensor:
    """Return the LR image ``(1, 3, 136, 152)`` that the answers belong to."""
    noise = np.random.RandomState(1).uniform(size=_LR_SHAPE)
    return torch.from_numpy(noise * spec.data_range).float()


def spread_of(sr: Tensor) -> float:
    """Return the standard deviation of an output's samples, in float64."""
    return sr.detach().cpu().double().std().item()


def projections(sr: Tensor) -> list[float]:
    """Return the dot products of an output with fixed signs, in float64.

    They are divided by the square root of the number of samples, so that each is about as large as one sample, and by
    the output's standard deviation.
    """
    values = sr.detach().cpu().contiguous().double().flatten()
    signs = np.random.RandomState(2).randint(0, 2, (_PROJECTIONS, values.numel())) * 2 - 1
    sums = torch.from_numpy(signs).double() @ values
    return (sums / math.sqrt(values.numel()) / values.std()).tolist()
