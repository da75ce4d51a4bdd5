"""Where a submission's torch.load puts its weights: on the device that is here, whatever it asks for."""

import pytest
import torch

from eval.third_party.shims import weights


@pytest.mark.parametrize("asked", [None, "cuda:0"])
@pytest.mark.parametrize(("device", "expected"), [("cpu", "cpu"), ("mps", "mps"), ("cuda", None)])
def test_weights_of_a_gpu_are_read_to_the_device_that_is_here(monkeypatch, tmp_path, asked, device: str, expected):
    given = []
    monkeypatch.setattr(torch, "load", lambda _place, map_location, **_options: given.append(map_location))
    weights.install(set(), torch.device(device), False, ())
    torch.load(tmp_path / "weights.pth", asked)
    assert given == [torch.device(expected) if expected else asked]
