"""Building a submission by its own code, inside the sandbox."""

import inspect
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eval.errors import RunError, UsageError
from eval.files import module_of
from eval.metrics.complexity import INPUT_SIDE
from eval.records.record import State
from eval.third_party.checkout import DEMO, SELECT
from eval.third_party.faults import SubmissionError
from eval.zoo.from_file import UNTRAINED, build_network, parse_model_args
from eval.zoo.loading import load_into
from eval.zoo.unwrapping import Unwrapped


@dataclass(frozen=True)
class Loaded:
    """A network that is ready, and how its own harness calls it.

    Attributes:
        count_with_hooks: counts FLOPs by the checkout's older counter, where its ``main`` does.
        weights: how they were taken from their file, where that is ours to do.
        is_held: the file holds the network itself, and no class or function that makes it.
    """

    data_range: float
    network: nn.Module
    device: torch.device
    forward: Callable[[Tensor], Any]
    count_with_hooks: Callable[[], int] | None = None
    weights: Unwrapped | None = None
    is_held: bool = False


def load_entry(folder: Path, asked: dict, device: torch.device) -> Loaded:
    """Call a checkout's ``select_model``, as its ``main`` does; the working directory is the checkout.

    Raises:
        Exception: whatever the submission's code raises.
        SubmissionError: what select_model wants or returns is not what it does in any edition.
    """
    demo = module_of(folder / DEMO, f"submission_{Path(DEMO).stem}")
    parts = getattr(demo, SELECT)(*_arguments(getattr(demo, SELECT), asked["model_id"], device))
    if not isinstance(parts, tuple) or len(parts) < 3 or not isinstance(parts[0], nn.Module):
        raise SubmissionError(State.FAILED_TO_BUILD, f"{SELECT} did not return a network, its name and its data range")
    network, _, data_range, *tile = parts
    network.eval().requires_grad_(False)
    # Saved as a whole module in half precision, as in 2023.
    dtypes = [parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()]
    dtype = dtypes[0] if dtypes else torch.float32
    called = getattr(demo, asked["forward"] or "forward", None)

    def run(lr: Tensor) -> Any:
        lr = lr.to(dtype)
        return network(lr) if called is None else called(lr, network, tile[0] if tile else None)

    def count() -> int:
        return int(demo.get_model_flops(network, (3, INPUT_SIDE, INPUT_SIDE), False))

    counter = count if asked["counts_with_hooks"] else None
    counted = network if dtype is torch.float32 else _FromFloat32(network, dtype)
    return Loaded(float(data_range), counted, device, run, counter)


def load_model_file(folder: Path, asked: dict, device: torch.device) -> Loaded:
    """Build the network of a class or function of a single file, and load a checkpoint into it, if there is one.

    The working directory is the file's folder, where it finds what it opens by a relative path.
    """
    root = folder / "code"
    file, name = root / asked["file"], asked["class"]
    os.chdir(root)
    sys.path.insert(0, str(root))
    torch.manual_seed(0)
    try:
        module = module_of(file, re.sub(r"\W", "_", f"submission_{file.stem}"))
        network = build_network(module, name, parse_model_args(asked["arguments"]))
    except UsageError as error:
        raise SubmissionError(State.FAILED_TO_BUILD, str(error)) from None
    told = Unwrapped({}, (UNTRAINED,))
    if asked["checkpoint"]:
        checkpoint = folder / asked["checkpoint"]
        try:
            told = load_into(network, torch.load(checkpoint, map_location="cpu"), checkpoint, asked["weights_key"])
        except RunError as error:
            raise SubmissionError(State.FAILED_TO_LOAD, str(error)) from None
    is_held = getattr(module, name) is network
    network = network.eval().requires_grad_(False).to(device)
    return Loaded(asked["data_range"], network, device, network, weights=told, is_held=is_held)


class _Asked(Namespace):
    """The flags of a harness; those that only some fork has were not given."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _FromFloat32(nn.Module):
    """A network whose weights are of another type, fed by who counts it with float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, x: Tensor) -> Any:
        """Run the network on its own type."""
        return self.network(x.to(self.dtype))


def _arguments(select: Callable, model_id: int, device: torch.device) -> list[Any]:
    """Return what an edition's ``select_model`` wants, told by its parameters' names."""
    asked = _Asked(model_id=model_id, data_dir=".", save_dir=".", include_test=False, ssim=False, hybrid_test=False)
    known = {"args": asked, "device": device, "model_id": model_id}
    wanted = [its.name for its in inspect.signature(select).parameters.values() if its.default is its.empty]
    if unknown := [name for name in wanted if name not in known]:
        raise SubmissionError(State.FAILED_TO_BUILD, f"{SELECT} wants {', '.join(unknown)}, which no edition has")
    return [known[name] for name in wanted]
