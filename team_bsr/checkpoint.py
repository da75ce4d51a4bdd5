"""Files of a network in training: checkpoints, which hold all that is needed to go on, and weights that ship.

Weights are safetensors, of the deploy form or of the training form, from which training goes on. Each file appears
whole or not at all.
"""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from eval.errors import RunError
from eval.files import why_no_file, write_whole
from eval.zoo.loading import read_tensors
from eval.zoo.unwrapping import unwrapped
from team_bsr.outputs import keep_zoo_whole
from team_bsr.trainees import PFDNLITE, TRAINEES

FORMAT = 1
NETWORK_KEYS = ("format", "pruned_blocks", "ema")
_NAME = re.compile(r"step\d-\d{7}\.ckpt")


def checkpoint_path(run_dir: Path, step: int, iteration: int) -> Path:
    """Return the file of a checkpoint after ``iteration`` iterations of a step."""
    return run_dir / f"step{step}-{iteration:07d}.ckpt"


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` with the format's number to ``path``, atomically.

    Raises:
        ValueError: an averaged weight is not finite, so nothing is written.
        OSError: it cannot be written; names ``path``.
    """
    for name, value in state["ema"].items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{path}: not written, for {name} is not finite")
    # In memory first: on a full disk torch.save raises what is no OSError and names no file.
    content = io.BytesIO()
    torch.save({"format": FORMAT, **state}, content)
    write_whole(path, content.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, weights and plain values only.

    Raises:
        FileNotFoundError: there is no such file.
        RunError: it is no checkpoint of this trainer, or of another format.
    """
    return _checked(path, _read(path, "a training checkpoint"))


def _read(path: Path, expected: str) -> object:
    if fault := why_no_file(path):
        raise FileNotFoundError(f"{path}: expected {expected}, found {fault}")
    try:
        return read_tensors(path, path.read_bytes())
    except RunError as error:
        raise RunError(f"{path}: expected {expected} ({str(error).removeprefix(f'{path}: ')})") from error


def _checked(path: Path, state: Any) -> dict[str, Any]:
    missing = [key for key in NETWORK_KEYS if not isinstance(state, dict) or key not in state]
    if missing or state["format"] != FORMAT:
        what = f"no {missing[0]!r}" if missing else f"format {state['format']}"
        raise RunError(f"{path}: expected a training checkpoint of format {FORMAT}, got one with {what}")
    return state


def load_network(path: Path, trainee: str | None = None) -> nn.Module:
    """Return the training network, float32 on the CPU, of a checkpoint's averaged weights or of a file of weights.

    Weights are of either form, in a file of safetensors or of torch.save. ``trainee`` names the network in the file;
    None for a checkpoint's own, or PFDNLite.

    Raises:
        FileNotFoundError: there is no such file.
        RunError: the file holds another network, or is damaged.
    """
    name = trainee or PFDNLITE
    expected = f"a training checkpoint, or weights of {name} in deploy or training form"
    content = _read(path, expected)
    # Other trainers write a key "format", too.
    if not isinstance(content, dict) or not content.keys() >= set(NETWORK_KEYS):
        try:
            return TRAINEES[name].of_weights(_weights(content, TRAINEES[name].forms()))
        except (RunError, RuntimeError, KeyError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise RunError(f"{path}: expected {expected} ({reason})") from error
    state = _checked(path, content)
    held = state.get("trainee", PFDNLITE)
    if trainee not in (None, held):
        raise RunError(f"{path}: expected weights of {trainee}, got those of {held}")
    return build_network(state)


def _weights(content: object, forms: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the state dict in a file that is nearest to one of a network's forms, by its names."""
    found: list[tuple[int, dict[str, Tensor]]] = []
    for wanted in forms:
        # What it says advises a flag of the harness.
        with suppress(RunError):
            state = unwrapped(content, wanted).state
            found.append((len(state.keys() ^ wanted.keys()), state))
    if not found:
        raise RunError("it holds no dictionary of tensors, or several of which none has the network's names")
    return min(found, key=lambda its: its[0])[1]


def build_network(state: Mapping[str, Any]) -> nn.Module:
    """Return the training network of a checkpoint's state with its averaged weights, strictly."""
    network = TRAINEES[state.get("trainee", PFDNLITE)].build(state["pruned_blocks"])
    network.load_state_dict(state["ema"], strict=True)
    return network


def checkpoints(run_dir: Path) -> list[Path]:
    """Return the run's checkpoints, oldest first."""
    return sorted(path for path in run_dir.glob("*.ckpt") if _NAME.fullmatch(path.name))


def rotate(run_dir: Path, step: int, keep: int) -> None:
    """Delete a step's checkpoints but for the newest ``keep``; the last one of every other step stays."""
    of_step = [path for path in checkpoints(run_dir) if path.name.startswith(f"step{step}-")]
    for path in of_step[:-keep]:
        path.unlink()


def write_weights(network: nn.Module, path: Path) -> None:
    """Write a network's ``weights_content``; the file appears whole or not at all.

    Raises:
        UsageError: the zoo takes the file for one of its checkpoints, which these weights are not.
    """
    content = weights_content(network)
    keep_zoo_whole(path, content)
    write_whole(path, content)


def weights_content(
    network: nn.Module, dtype: torch.dtype | None = None, facts: Mapping[str, str] | None = None
) -> bytes:
    """Return a safetensors file of a network in either form; ``dtype`` is its values', ``facts`` are its metadata."""
    state = {key: value.detach().cpu().to(dtype).contiguous() for key, value in network.state_dict().items()}
    # The library's own save_file makes a file that only its owner may read.
    return safetensors.torch.save(state, dict(facts) if facts else None)
