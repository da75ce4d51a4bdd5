"""Where a network is, and copies that wait for nobody but the device."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from eval.device.transfer import device_of, to_device, to_host


def test_a_network_is_where_its_parameters_are_or_its_buffers():
    plain, buffered = nn.Conv2d(1, 1, 1, device="meta"), nn.Module()
    buffered.register_buffer("kernel", torch.zeros(1, device="meta"))
    assert [device_of(network).type for network in (plain, buffered, nn.Identity())] == ["meta", "meta", "cpu"]


def test_on_a_cpu_nothing_moves():
    x = torch.rand(2, 3)
    assert to_device(x, torch.device("cpu")) is x
    assert to_host(x) is x


def test_to_a_gpu_through_page_locked_memory(monkeypatch: pytest.MonkeyPatch):
    asked = []
    pinned = SimpleNamespace(to=lambda device, non_blocking: asked.append((device, non_blocking)) or "there")
    whole = SimpleNamespace(pin_memory=lambda: pinned)
    # A tile is a view with gaps; copied as such it would make the CPU wait.
    assert to_device(SimpleNamespace(contiguous=lambda: whole), torch.device("cuda")) == "there"
    assert asked == [(torch.device("cuda"), True)]
