"""From a training checkpoint to weights of the deploy network that ship: fuse, verify, and describe."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eval.data.images import to_tensor, to_uint8
from eval.errors import RunError
from eval.zoo.checkpoints import file_sha256
from team_bsr.network import TrainingPFDNLite, reparameterize

# Roundings along 54 layers of up to 864 products walk about sqrt(54 x 864) = 216 steps; features stay below 10.
TOLERANCES = {dtype: 216 * 10 * torch.finfo(dtype).eps for dtype in (torch.float64, torch.float32)}


@dataclass(frozen=True)
class Agreement:
    """How well fused and unfused network agree on images.

    Attributes:
        largest: largest difference of an output sample in [0, 1], by type; float64 and float32.
        changed: 8-bit samples that differ by float32 rounding.
        samples: 8-bit samples compared.
    """

    largest: dict[torch.dtype, float]
    changed: int
    samples: int


@torch.inference_mode()
def verify(network: TrainingPFDNLite, images: Iterable[np.ndarray]) -> Agreement:
    """Compare the fused network with the branches run one by one.

    Args:
        network: training network, float32.
        images: LR images, ``(h, w, 3)`` uint8.

    Raises:
        RunError: they differ by more than rounding explains, 5e-13 in float64 or 3e-4 in float32.
    """
    branches = TrainingPFDNLite(network.channels, network.pruned_blocks, multi_branch=True)
    branches.load_state_dict(network.state_dict())
    largest, changed, samples = dict.fromkeys(TOLERANCES, 0.0), 0, 0
    pairs = {dtype: (branches.to(dtype), reparameterize(network.to(dtype))) for dtype in TOLERANCES}
    for image in images:
        for dtype, (unfused, fused) in pairs.items():
            x = to_tensor(image, 1.0).to(dtype)
            expected, got = unfused.to(dtype)(x)[0], fused(x)[0]
            largest[dtype] = max(largest[dtype], (expected - got).abs().max().item())
        changed += int((to_uint8(expected, 1.0) != to_uint8(got, 1.0)).sum())
        samples += expected.numel()
    for dtype, limit in TOLERANCES.items():
        if largest[dtype] > limit:
            raise RunError(f"fused and unfused differ by {largest[dtype]:.1e} in {dtype}; expected at most {limit:.0e}")
    return Agreement(largest, changed, samples)


def manifest_row(path: Path, name: str = "selftrained") -> str:
    """Return the lines that make a file of weights known to the zoo."""
    return (
        f'[[model.checkpoints]]\nname = "{name}"\nfile = "{path.name}"\n'
        f'sha256 = "{file_sha256(path)}"\nbytes = {path.stat().st_size}\n'
    )
