"""Loading weights: from the very bytes that were hashed, as plain tensors, never unpickled as code."""

import hashlib
import io
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from eval.contents import Kind, kind_of, not_itself
from eval.errors import RunError
from eval.metrics.figures import Flag
from eval.zoo.checkpoints import Checkpoint
from eval.zoo.manifest import ModelSpec
from eval.zoo.model_info import ModelInfo
from eval.zoo.unwrapping import Unwrapped, misfit, unwrapped

_EXPECTED = "expected weights: a state_dict saved by torch.save, or safetensors"
_WITH_CODE = (
    f"{_EXPECTED}. Where you trust the file, run: torch.save(torch.{{reader}}(FILE){{inside}}.state_dict(), NEW_FILE)"
)
# Files that hold no state dict for certain.
_REFUSED = {
    Kind.TORCHSCRIPT: _WITH_CODE.format(reader="jit.load", inside=""),
    Kind.EXPORTED: _WITH_CODE.format(reader="export.load", inside=".module()"),
    **dict.fromkeys((Kind.NPZ, Kind.NPY, Kind.ZIP, Kind.HDF5, Kind.IMAGE, Kind.OTHER_IMAGE, Kind.TEXT), _EXPECTED),
}


class WeightsChangedError(RunError):
    """A file of weights is not the one any more that was found and hashed."""


class CodeReplacedError(RunError):
    """A program has put another function in the place of a network's own."""


def load_network(spec: ModelSpec, checkpoint: Checkpoint | None) -> nn.Module:
    """Build a model and load its weights strictly; on the CPU, in eval mode, without gradients.

    ``checkpoint`` is what ``find_checkpoint`` found; None only for a model that has no weights.

    Raises:
        WeightsChangedError: the file changed since it was found.
        CodeReplacedError: a forward is not that of its file.
        RunError: it is no plain state dict, or does not fit the network; or there is none, and the network has weights,
            which would be random ones.
    """
    network, _ = load_and_tell(spec, checkpoint)
    return network


def load_and_tell(spec: ModelSpec, checkpoint: Checkpoint | None) -> tuple[nn.Module, Unwrapped | None]:
    """Do the same, and return also what was done to the file's content."""
    network = spec.build()
    if replaced := _replaced_forwards(network):
        told = f"a program has put another forward in the place of that of {', '.join(replaced)}"
        raise CodeReplacedError(f"{spec.label}: {told}: its figures would not be those of the zoo's network")
    if checkpoint is None and next(network.parameters(), None) is not None:
        raise RunError(
            f"{spec.label}: has weights, and its row in model_zoo/manifest.toml names no file of them; add a table "
            "[[model.checkpoints]] to it"
        )
    told = None if checkpoint is None else load_weights(network, checkpoint)
    return network.requires_grad_(False), told


def _replaced_forwards(network: nn.Module) -> list[str]:
    """Return the classes whose forward is of another file than the class."""
    kinds = (kind for module in network.modules() for kind in type(module).__mro__ if "forward" in vars(kind))
    return sorted({kind.__qualname__ for kind in kinds if not _is_of_its_file(kind)})


def _is_of_its_file(kind: type) -> bool:
    code = getattr(vars(kind)["forward"], "__code__", None)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return code is None or file is None or code.co_filename == file


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> Unwrapped:
    """Load a file of weights strictly into a network that is on the CPU; errors as of ``load_network``."""
    return load_into(network, _content(checkpoint), checkpoint.path, checkpoint.key)


def read_state(checkpoint: Checkpoint, wanted: Mapping[str, Tensor] = {}) -> dict[str, Tensor]:
    """Return the tensors of a file that a network takes, under the names and in the types of its state dict ``wanted``.

    The values of that are not looked at; without one, names and types are the file's.

    Raises:
        RunError: as of ``load_network``.
    """
    content = _content(checkpoint)
    try:
        return unwrapped(content, wanted, checkpoint.key).state
    except RunError as error:
        raise RunError(f"{checkpoint.path}: {error}") from error


def _content(checkpoint: Checkpoint) -> object:
    """Return what a file holds, from the very bytes that were hashed."""
    data = checkpoint.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != checkpoint.sha256:
        raise WeightsChangedError(f"{checkpoint.path}: the file changed after it was found; run it again")
    return read_tensors(checkpoint.path, data)


def load_into(network: nn.Module, content: object, path: Path, key: str | None) -> Unwrapped:
    """Load what a file holds strictly into a network.

    Raises:
        RunError: it is no state dict, or does not fit; the message says which keys there are, and which are wanted.
    """
    wanted = network.state_dict()
    try:
        found = unwrapped(content, wanted, key)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
    if fault := misfit(found.state, wanted):
        told = f" ({'; '.join(found.steps)})" if found.steps else ""
        raise RunError(f"{path}: the weights do not fit the network; {fault}{told}")
    network.load_state_dict(found.state, strict=True)
    return found


def read_tensors(path: Path, data: bytes) -> object:
    """Return what a file's bytes hold, by what they are and not by its name; no code of it runs.

    Raises:
        RunError: they are no weights, damaged, or hold more than tensors; the message says what to do.
    """
    kind = kind_of(data)
    if fault := not_itself(data):
        raise RunError(f"{path}: {fault}")
    if kind in _REFUSED:
        raise RunError(f"{path}: {kind.value}; {_REFUSED[kind]}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind is Kind.SAFETENSORS:
                return safetensors.torch.load(data)
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # A damaged or hostile file can make a reader raise anything. What torch says of it is not repeated: it
    # advises to run the file's code.
    except Exception as error:
        raise RunError(
            f"{path}: not a file of plain tensors, or a damaged one ({type(error).__name__}). "
            "Weights are read without running code: save a state_dict of tensors, or safetensors"
        ) from error


def with_weights_told(info: ModelInfo, told: Unwrapped | None) -> ModelInfo:
    """Return what a record says of a model, with how its weights were taken from their file."""
    if told is None:
        return info
    return info.model_copy(update={"weights_steps": told.steps, "weights_stored": told.stored})


def stored_flags(info: ModelInfo) -> list[Flag]:
    """Return a flag where weights are stored in another type than the network's."""
    if info.weights_stored is None:
        return []
    text = f"its weights are stored in {info.weights_stored} and were converted to the network's float32"
    return [Flag(code="stored", text=text)]
