"""Loading weights: from the very bytes that were hashed, as plain tensors, never unpickled as code."""

import hashlib
import io
import warnings
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from eval.errors import RunError
from eval.zoo.checkpoints import Checkpoint
from eval.zoo.manifest import ModelSpec

# Training frameworks keep the weights under one of these keys.
WRAPPERS = ("params_ema", "params", "state_dict", "model")


def load_network(spec: ModelSpec, checkpoint: Checkpoint | None) -> nn.Module:
    """Build a model and load its weights strictly; on the CPU, in eval mode, without gradients.

    Args:
        spec: the model.
        checkpoint: what ``find_checkpoint`` found; None only for a model that has no weights.

    Raises:
        RunError: the file changed since it was found, is no plain state dict, or does not fit the network.
    """
    network = spec.build()
    if checkpoint is not None:
        load_weights(network, checkpoint)
    return network.requires_grad_(False)


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Load a file of weights strictly into a network that is on the CPU; errors as of ``load_network``."""
    state = read_state(checkpoint)
    _check_fit(checkpoint.path, network.state_dict(), state)
    network.load_state_dict(state, strict=True)


def read_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Read the tensors of a file, from the very bytes that were hashed; errors as of ``load_network``."""
    data = checkpoint.path.read_bytes()
    if hashlib.sha256(data).hexdigest() != checkpoint.sha256:
        raise RunError(f"{checkpoint.path}: the file changed while it was being loaded")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if checkpoint.path.suffix.lower() == ".safetensors":
                return safetensors.torch.load(data)
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # A damaged or hostile file can make a reader raise anything. What torch says of it is not repeated: it
    # advises to run the file's code.
    except Exception as error:
        raise RunError(
            f"{checkpoint.path}: not a file of plain tensors, or a damaged one ({type(error).__name__}). "
            "Weights are read without running code: save a state_dict of tensors, or safetensors"
        ) from error
    return _unwrapped(checkpoint.path, content)


def _unwrapped(path: Path, content: object) -> dict[str, Tensor]:
    """Return the state dict itself, or the one dictionary that a training framework wrapped it in."""
    found = type(content).__name__
    if isinstance(content, dict):
        wrapped = [inner for key in WRAPPERS if isinstance(inner := content.get(key), dict)]
        state = wrapped[0] if len(wrapped) == 1 else content
        if state and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
            return state
        found = sorted(map(str, state))
    raise RunError(f"{path}: expected a dictionary of tensors, or one under one of {', '.join(WRAPPERS)}; got {found}")


def _check_fit(path: Path, expected: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Compare keys, types and shapes, and name the first of each kind of misfit."""
    others = [
        f"{key} {_kind(state[key])} for {_kind(value)}"
        for key, value in expected.items()
        if key in state and _kind(state[key]) != _kind(value)
    ]
    misfits = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another type or shape": others,
    }
    told = [f"{len(keys)} {kind} (first: {_printable(keys[0])})" for kind, keys in misfits.items() if keys]
    if told:
        raise RunError(f"{path}: the weights do not fit the network; keys {'; '.join(told)}")


def _kind(tensor: Tensor) -> str:
    dense = (
        "" if tensor.layout is torch.strided and tensor.device.type == "cpu" else f"{tensor.layout} on {tensor.device} "
    )
    return f"{dense}{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _printable(text: str) -> str:
    """Keep a key of a third-party file from steering the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
