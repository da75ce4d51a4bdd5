"""PSNR of a network in training, on named sets of images."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from eval.data.datasets import Dataset, open_dataset
from eval.data.pairs import ImagePair
from eval.device.pixels import to_tensor, to_uint8
from eval.errors import UsageError
from eval.metrics.psnr_ssim import psnr
from team_bsr.trainees import deploy_form


def open_set(folder: Path) -> Dataset:
    """Open a folder in any layout that the harness knows.

    Raises:
        UsageError: there is no such folder, or it has no HR images.
        RunError: files are missing or damaged.
    """
    dataset = open_dataset(folder, None)
    if not dataset.has_hr:
        raise UsageError(f"--validate {folder}: expected HR images, found {dataset.layout}")
    return dataset


@torch.inference_mode()
def validate(network: nn.Module, sets: Sequence[Dataset]) -> dict[str, float]:
    """Return each set's mean PSNR in dB by the challenge's protocol, of the deploy form in float32."""
    deploy = deploy_form(network).eval()
    device = next(deploy.parameters()).device

    def psnr_db(pair: ImagePair) -> float:
        lr, hr = pair.read()
        assert hr is not None
        return psnr(to_uint8(deploy(to_tensor(lr, 1.0).to(device))[0], 1.0), hr)

    return {dataset.name: fmean(map(psnr_db, dataset.pairs)) for dataset in sets}
