"""The engines by name: what each can do, and whether it can be used here. Nothing here imports torch."""

import importlib.util
from dataclasses import dataclass
from typing import get_args

from eval.config import AUTO, EAGER, RunConfig
from eval.errors import UsageError

PRECISIONS = get_args(RunConfig.model_fields["precision"].annotation)


@dataclass(frozen=True)
class Engine:
    """One row of the registry.

    Attributes:
        module: has ``prepare(network, device, precision) -> Forward``; imported when it is used.
        needs: packages that are not among the dependencies of pyproject.toml.
        devices: kinds of devices it runs on.
        compiles: preparing it takes a compiler, and long the first time.
        any_tiles: its tiles may be told where they lie, as networks that interpolate a map must be.
        side_by_side: several of its networks may run at once, each in a thread of its own.
        records: it keeps memory for each size that it has seen, so that no peak is that of one image.
    """

    module: str
    memory_format: str = "contiguous"
    precisions: tuple[str, ...] = PRECISIONS
    devices: tuple[str, ...] = ("cpu", "cuda", "mps")
    needs: tuple[str, ...] = ()
    compiles: bool = False
    any_tiles: bool = False
    side_by_side: bool = False
    records: bool = False

    @property
    def is_here(self) -> bool:
        """Tell whether what it needs is installed."""
        return all(importlib.util.find_spec(package) is not None for package in self.needs)


ENGINES = {
    EAGER: Engine("eval.inference.engines.eager", any_tiles=True, side_by_side=True),
    "channels-last": Engine("eval.inference.engines.channels_last", "channels_last", any_tiles=True, side_by_side=True),
    "compiled": Engine("eval.inference.engines.compiled", "channels_last", devices=("cpu", "cuda"), compiles=True),
    "cuda-graphs": Engine("eval.inference.engines.cuda_graphs", "channels_last", devices=("cuda",), records=True),
}


@dataclass(frozen=True)
class Execution:
    """How a network is run: by which engine, in which precision."""

    engine: str = EAGER
    precision: str = "fp32"

    @property
    def memory_format(self) -> str:
        """How the engine lays out what it is given."""
        return ENGINES[self.engine].memory_format


PLAIN = Execution()


def check_engine(execution: Execution, device: str) -> None:
    """Refuse what cannot be run, before anything is loaded; the engine may be "auto".

    Raises:
        UsageError: the engine is unknown, not installed, or cannot do this precision or this device.
    """
    name, precision = execution.engine, execution.precision
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
    if name == AUTO:
        return
    if name not in ENGINES:
        raise UsageError(f"--engine {name}: expected one of {', '.join([*ENGINES, AUTO])}")
    engine, kind = ENGINES[name], device.partition(":")[0]
    if not engine.is_here:
        raise UsageError(f"--engine {name}: not installed; pip install {' '.join(engine.needs)}")
    if precision not in engine.precisions:
        able = ", ".join(other for other, row in ENGINES.items() if precision in row.precisions)
        raise UsageError(f"--precision {precision}: not with --engine {name}; use one of {able}")
    if kind not in engine.devices:
        raise UsageError(f"--engine {name}: runs on {', '.join(engine.devices)}, not on {device}")
