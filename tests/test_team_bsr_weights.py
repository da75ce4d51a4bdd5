"""The weights that ship, trained by this project: they are what their card says, and better than bicubic."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from eval.bicubic import Bicubic
from eval.datasets import SAMPLE, open_dataset
from eval.images import to_tensor, to_uint8
from eval.metrics import psnr
from models.team03_PFDNLite import PFDNLite

WEIGHTS = Path(__file__).resolve().parent.parent / "model_zoo" / "pfdnlite_selftrained.safetensors"


@pytest.fixture(scope="module")
def network():
    network = PFDNLite()
    network.load_state_dict(safetensors.torch.load_file(WEIGHTS), strict=True)
    return network.eval()


def test_they_are_small_enough_to_ship():
    assert WEIGHTS.stat().st_size < 2**20


@torch.inference_mode()
def test_they_beat_bicubic_on_every_photograph_that_is_here(network):
    gains = []
    for pair in open_dataset(None, SAMPLE).pairs:
        lr, hr = pair.read()
        ours = psnr(to_uint8(network(to_tensor(lr, 1.0))[0], 1.0), hr)
        bicubic = psnr(to_uint8(Bicubic()(to_tensor(lr, 255.0))[0], 255.0), hr)
        gains.append(ours - bicubic)
    assert min(gains) > 0.3, gains
    assert sum(gains) / len(gains) > 1.0, gains
