"""Building a submission by its own code, inside the sandbox."""

import inspect
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eval.files import module_of
from eval.metrics.complexity import INPUT_SIDE
from eval.records.record import State
from eval.third_party.checkout import DEMO, SELECT, read_checkout
from eval.third_party.faults import SubmissionError
from eval.zoo.loading import WRAPPERS


@dataclass(frozen=True)
class Loaded:
    """A network that is ready, and how its own harness calls it.

    Attributes:
        count_with_hooks: counts FLOPs by the checkout's older counter, where its ``main`` does.
    """

    name: str
    data_range: float
    network: nn.Module
    device: torch.device
    forward: Callable[[Tensor], Any]
    count_with_hooks: Callable[[], int] | None = None


def load_entry(folder: Path, model_id: int, forward: str | None, device: torch.device) -> Loaded:
    """Call a checkout's ``select_model``, as its ``main`` does; the working directory is the checkout.

    Raises:
        Exception: whatever the submission's code raises.
        SubmissionError: what select_model wants or returns is not what it does in any edition.
    """
    demo = module_of(folder / DEMO, f"submission_{Path(DEMO).stem}")
    parts = getattr(demo, SELECT)(*_arguments(getattr(demo, SELECT), model_id, device))
    if not isinstance(parts, tuple) or len(parts) < 3 or not isinstance(parts[0], nn.Module):
        raise SubmissionError(State.FAILED_TO_BUILD, f"{SELECT} did not return a network, its name and its data range")
    network, name, data_range, *tile = parts
    network.eval().requires_grad_(False)
    called = getattr(demo, forward or "forward", None)

    def run(lr: Tensor) -> Any:
        return network(lr) if called is None else called(lr, network, tile[0] if tile else None)

    def count() -> int:
        return int(demo.get_model_flops(network, (3, INPUT_SIDE, INPUT_SIDE), False))

    counter = count if read_checkout(folder).counts_with_hooks else None
    return Loaded(str(name), float(data_range), network, device, run, counter)


def load_model_file(folder: Path, asked: dict, device: torch.device) -> Loaded:
    """Build a class of a single file without arguments, and load a checkpoint into it strictly."""
    file, class_name = folder / asked["file"], asked["class"]
    sys.path.insert(0, str(file.parent))
    made = getattr(module_of(file, f"submission_{file.stem}"), class_name, None)
    if not isinstance(made, type) or not issubclass(made, nn.Module):
        raise SubmissionError(State.FAILED_TO_BUILD, f"{file.name} has no class {class_name} of torch.nn.Module")
    network = made()
    state = torch.load(folder / asked["checkpoint"])
    wrapped = [key for key in WRAPPERS if isinstance(state.get(key), dict)]
    network.load_state_dict(state[wrapped[0]] if wrapped else state, strict=True)
    network = network.eval().requires_grad_(False).to(device)
    return Loaded(class_name, asked["data_range"], network, device, network)


def _arguments(select: Callable, model_id: int, device: torch.device) -> list[Any]:
    """Return what an edition's ``select_model`` wants, told by its parameters' names."""
    asked = Namespace(model_id=model_id, data_dir=".", save_dir=".", include_test=False, ssim=False)
    known = {"args": asked, "device": device, "model_id": model_id}
    parameters = [
        parameter for parameter in inspect.signature(select).parameters.values() if parameter.default is parameter.empty
    ]
    unknown = [parameter.name for parameter in parameters if parameter.name not in known]
    if unknown:
        raise SubmissionError(State.FAILED_TO_BUILD, f"{SELECT} wants {', '.join(unknown)}, which no edition has")
    return [known[parameter.name] for parameter in parameters]
