"""PSNR of a network in training, on named sets of images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from eval.data.datasets import Dataset, open_dataset
from eval.data.finding import FolderError
from eval.data.pairs import ImagePair
from eval.device.numerics import cudnn_switches
from eval.device.pixels import to_tensor, to_uint8
from eval.errors import UsageError
from eval.files import why_no_folder
from eval.inference.upscaler import reflect_up_to
from eval.metrics.psnr_ssim import psnr
from eval.zoo.manifest import find_model
from models.team03_PFDNLite import PFDNLite
from team_bsr.trainees import deploy_form


def open_sets(folders: Iterable[Path] | None) -> list[Dataset]:
    """Open folders by ``open_set``, which are told apart by their names.

    Raises:
        UsageError: two sets have one name.
    """
    sets: dict[str, Dataset] = {}
    for folder in folders or ():
        dataset = open_set(folder)
        if (other := sets.setdefault(dataset.name, dataset)) is not dataset:
            raise UsageError(
                f"--validate {folder}: expected a set of a name of its own, got {dataset.name}, as {other.folder} is "
                "called; rename one of the folders"
            )
    return list(sets.values())


def open_set(folder: Path, flag: str = "--validate", needs_hr: bool = True) -> Dataset:
    """Open the folder that a flag names, in any layout that the harness knows.

    Raises:
        UsageError: there is no such folder, or it has no HR images and needs them.
        RunError: files are missing or damaged.
    """
    if reason := why_no_folder(folder):
        raise UsageError(f"{flag} {folder}: {reason}; expected the path of a set's folder, as $ESR_DATA/Set5")
    try:
        dataset = open_dataset(folder, None)
    except FolderError as error:
        raise UsageError(error.said(f"{flag} ", "name the folder of one")) from error
    if needs_hr and not dataset.has_hr:
        raise UsageError(f"{flag} {folder}: expected HR images, found {dataset.layout}")
    return dataset


@torch.inference_mode()
@cudnn_switches(tf32=False)
def validate(network: nn.Module, sets: Sequence[Dataset]) -> dict[str, float]:
    """Return each set's mean PSNR in dB by the challenge's protocol, of the deploy form in float32."""
    deploy = deploy_form(network).eval()
    device = next(deploy.parameters()).device
    least = find_model("PFDNLite").min_size if isinstance(deploy, PFDNLite) else 1

    def psnr_db(pair: ImagePair) -> float:
        lr, hr = pair.read()
        assert hr is not None
        # As the harness measures it, so that no small image ends a run.
        x = reflect_up_to(to_tensor(lr, 1.0), least).to(device)
        return psnr(to_uint8(deploy(x)[0], 1.0)[: hr.shape[0], : hr.shape[1]], hr)

    return {dataset.name: fmean(map(psnr_db, dataset.pairs)) for dataset in sets}
