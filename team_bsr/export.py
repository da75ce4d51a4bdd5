"""From a training checkpoint to files that ship: fuse, verify, and describe."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from eval.submission.graphs import TOLERANCES, Agreement, agreement
from eval.zoo.checkpoints import file_sha256
from team_bsr.network import TrainingPFDNLite, reparameterize


def verify(network: TrainingPFDNLite, images: Iterable[np.ndarray]) -> Agreement:
    """Compare the fused network with the branches run one by one; raises as ``agreement`` does."""
    branches = TrainingPFDNLite(network.channels, network.pruned_blocks, multi_branch=True)
    branches.load_state_dict(network.state_dict())
    fused = {dtype: reparameterize(network.to(dtype)) for dtype in TOLERANCES}
    versions = {dtype: (lambda x: branches.to(x.dtype)(x), fused[dtype]) for dtype in TOLERANCES}
    return agreement(versions, images, "fused and unfused")


def manifest_row(path: Path, name: str) -> str:
    """Return the lines that make a file of weights known to the zoo."""
    return (
        f'[[model.checkpoints]]\nname = "{name}"\nfile = "{path.name}"\n'
        f'sha256 = "{file_sha256(path)}"\nbytes = {path.stat().st_size}\n'
    )
