"""Finding, verifying and loading weights. A file is hashed before it is opened, and never unpickled as code."""

import hashlib
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import safetensors.torch
import torch
from torch import Tensor, nn

from eval.errors import RunError, UsageError
from eval.zoo.manifest import MODEL_ZOO, CheckpointSpec, ModelSpec
from eval.zoo.model_info import ModelInfo

# Training frameworks keep the weights under one of these keys.
WRAPPERS = ("params_ema", "params", "state_dict", "model")


class MissingWeightsError(RunError):
    """None of a model's weights is on this machine."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights that lies on this machine. ``name`` is None for a file that the manifest does not know."""

    path: Path
    sha256: str
    name: str | None


def download_cache() -> Path:
    """Return the folder that ``python -m eval fetch`` downloads to: ``$ESR_CACHE``, or the system's cache folder."""
    return Path(os.environ.get("ESR_CACHE") or platformdirs.user_cache_path("pfdnlite-esr"))


def weight_folders() -> list[Path]:
    """Return the folders that weights are looked for in, in order.

    Raises:
        UsageError: ``ESR_WEIGHTS`` names no folder.
    """
    named = os.environ.get("ESR_WEIGHTS")
    if named and not Path(named).is_dir():
        raise UsageError(f"ESR_WEIGHTS={named}: no such folder")
    return [MODEL_ZOO, *([Path(named)] if named else []), download_cache()]


def find_checkpoint(spec: ModelSpec, weights: str | None = None) -> Checkpoint:
    """Find the weights to use for a model.

    Args:
        spec: the model.
        weights: None for the first of the manifest's checkpoints that is here; the name of one of them
            ("released"); or a path, which then need not be in the manifest.

    Raises:
        UsageError: ``weights`` is neither a checkpoint's name nor a file.
        MissingWeightsError: none is here; the message says how to get them.
        RunError: a file has another hash than the manifest's.
    """
    if weights is not None and weights not in {known.name for known in spec.checkpoints}:
        return _checkpoint_at_path(spec, weights)
    candidates = [known for known in spec.checkpoints if weights in (None, known.name)]
    for known in candidates:
        for folder in weight_folders():
            path = folder / known.file
            if path.is_file():
                return _verified(path, known)
    raise MissingWeightsError(_how_to_get(spec, candidates))


def _checkpoint_at_path(spec: ModelSpec, weights: str) -> Checkpoint:
    path = Path(weights)
    if not path.is_file():
        names = ", ".join(known.name for known in spec.checkpoints) or "none"
        raise UsageError(f"--weights {weights}: no such file, and no checkpoint of {spec.name} (it has: {names})")
    digest = file_sha256(path)
    name = next((known.name for known in spec.checkpoints if known.sha256 == digest), None)
    return Checkpoint(path, digest, name)


def _verified(path: Path, known: CheckpointSpec) -> Checkpoint:
    digest = file_sha256(path)
    if digest != known.sha256:
        raise RunError(
            f"{path}: expected SHA-256 {known.sha256} ({known.bytes:,} bytes), got {digest} "
            f"({path.stat().st_size:,} bytes); the file is damaged or another one: remove it, or name it by --weights"
        )
    return Checkpoint(path, digest, known.name)


def _how_to_get(spec: ModelSpec, candidates: list[CheckpointSpec]) -> str:
    folders = ", ".join(str(folder) for folder in weight_folders())
    lines = [f"{spec.label}: its weights are not on this machine. Looked in: {folders}"]
    for known in candidates:
        lines.append(f"  {known.file} ({known.bytes:,} bytes, SHA-256 {known.sha256})")
        if known.url:
            lines.append(f"    from {known.url}")
    lines.append(f"Run: python -m eval fetch weights --model_id {spec.id}")
    lines.append(f"or put the file into {MODEL_ZOO}, or point ESR_WEIGHTS at the folder that holds it.")
    return "\n".join(lines)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def zoo_info(spec: ModelSpec, checkpoint: Checkpoint | None) -> ModelInfo:
    """Return what a record says of a model of the zoo."""
    return ModelInfo(
        **{key: getattr(spec, key) for key in ("id", "name", "label", "team", "scale", "data_range")},
        checkpoint=checkpoint and checkpoint.name,
        weights_file=checkpoint and checkpoint.path.name,
        weights_sha256=checkpoint and checkpoint.sha256,
        source_sha256=spec.source_sha256,
    )


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
    state = _read_state(checkpoint)
    _check_fit(checkpoint.path, network.state_dict(), state)
    network.load_state_dict(state, strict=True)


def _read_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Read the tensors of a file, from the very bytes that were hashed."""
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
    if isinstance(content, dict):
        wrapped = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
        if len(wrapped) == 1:
            content = content[wrapped[0]]
        if content and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
            return content
    found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
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
