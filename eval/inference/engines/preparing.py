"""Networks made ready by an engine."""

import importlib

import torch
from torch import nn

from eval.device.clock import Forward
from eval.errors import EngineError, one_reason
from eval.inference.engines.registry import ENGINES, Execution


def prepare(network: nn.Module, device: torch.device, execution: Execution) -> Forward:
    """Return the network's forward by an engine that has been checked; the network stays as it is.

    Raises:
        EngineError: the engine cannot run this network, or lacks something on this machine.
    """
    try:
        module = importlib.import_module(ENGINES[execution.engine].module)
        return module.prepare(network, device, execution.precision)
    except (EngineError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:
        raise EngineError(f"--engine {execution.engine}: {one_reason(error)}") from error
