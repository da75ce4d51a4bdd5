"""The weights that ship, trained by this project: they are what their card says, and better than bicubic."""

import json

import pytest
import safetensors.torch
import torch

from eval.data.datasets import open_dataset
from eval.data.finding import SAMPLE
from eval.device.pixels import to_tensor, to_uint8
from eval.metrics.psnr_ssim import psnr
from eval.zoo.bicubic import Bicubic
from models.team03_PFDNLite import PFDNLite
from team_bsr.checkpoint import load_network
from team_bsr.network import reparameterize
from tests.conftest import PROJECT

ZOO = PROJECT / "model_zoo"
WEIGHTS, TRAINING = ZOO / "pfdnlite_selftrained.safetensors", ZOO / "pfdnlite_training.safetensors"


def fused() -> PFDNLite:
    network = PFDNLite()
    network.load_state_dict(safetensors.torch.load_file(WEIGHTS), strict=True)
    return network


def training_form_fused() -> PFDNLite:
    return reparameterize(load_network(TRAINING))


def test_the_training_form_is_the_pruned_one_in_float16_and_says_where_it_comes_from():
    with safetensors.safe_open(TRAINING, "pt") as file:
        facts = {key: json.loads(value) for key, value in file.metadata().items()}
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
    assert load_network(TRAINING).pruned_blocks == (2, 3)
    assert facts["step"] == 4
    assert facts["iteration"] >= 7500
    assert [step["draw"] for step in facts["recipe"]["steps"]] == ["detail"]


@torch.inference_mode()
@pytest.mark.parametrize("build", [fused, training_form_fused])
def test_they_beat_bicubic_on_every_photograph_that_is_here(build):
    network, gains = build().eval(), []
    for pair in open_dataset(None, SAMPLE).pairs:
        lr, hr = pair.read()
        ours = psnr(to_uint8(network(to_tensor(lr, 1.0))[0], 1.0), hr)
        bicubic = psnr(to_uint8(Bicubic()(to_tensor(lr, 255.0))[0], 255.0), hr)
        gains.append(ours - bicubic)
    assert min(gains) > 0.3, gains
    assert sum(gains) / len(gains) > 1.0, gains
