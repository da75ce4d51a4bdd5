"""Weights that ship, as safetensors: the deploy form, and the training form, from which training goes on."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from eval.errors import RunError
from eval.files import atomic_path
from team_bsr.trainees import TRAINEES


def write_weights(
    network: nn.Module, path: Path, dtype: torch.dtype | None = None, facts: Mapping[str, str] | None = None
) -> None:
    """Write a network's state dict; the file appears whole or not at all.

    Args:
        network: in either form.
        path: file to write.
        dtype: of the values in the file; None keeps theirs.
        facts: texts to keep in the file's metadata.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().to(dtype).contiguous() for key, value in network.state_dict().items()}
    with atomic_path(path) as partial:
        # The library's own save_file makes a file that only its owner may read.
        partial.write_bytes(safetensors.torch.save(state, dict(facts) if facts else None))


def read_network(path: Path, trainee: str) -> nn.Module:
    """Return the training network, float32 on the CPU, that a file of either form holds.

    Raises:
        RunError: the file is damaged, or holds another network.
    """
    try:
        return TRAINEES[trainee].of_weights(safetensors.torch.load_file(path))
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise RunError(f"{path}: expected weights of {trainee}, deploy or training form ({error})") from error
