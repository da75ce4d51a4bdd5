"""Stand-ins for CUDA operators: against loops written out from their published definitions."""

import math
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eval.metrics.complexity import measure_complexity
from eval.third_party.shims import packages, scans

BATCH, CHANNELS, STATES, LENGTH = 2, 4, 3, 9


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def written_out(u, delta, A, b_of, c_of, D=None, z=None) -> np.ndarray:
    """Scan one position, channel and state after the other in float64; ``b_of(batch, channel, t)`` gives a vector."""
    y = np.zeros(u.shape)
    for batch in range(u.shape[0]):
        for channel in range(u.shape[1]):
            h = np.zeros(A.shape[1])
            for t in range(u.shape[2]):
                step, value = float(delta[batch, channel, t]), float(u[batch, channel, t])
                h = np.exp(step * A[channel].double().numpy()) * h + step * value * b_of(batch, channel, t)
                y[batch, channel, t] = h @ c_of(batch, channel, t)
                if D is not None:
                    y[batch, channel, t] += float(D[channel]) * value
                if z is not None:
                    gate = float(z[batch, channel, t])
                    y[batch, channel, t] *= gate / (1 + math.exp(-gate))
    return y


@pytest.fixture
def parts() -> dict[str, torch.Tensor]:
    return {
        "u": drawn(BATCH, CHANNELS, LENGTH, seed=1),
        "delta": drawn(BATCH, CHANNELS, LENGTH, seed=2),
        "A": -drawn(CHANNELS, STATES, seed=3).exp(),
    }


@pytest.mark.parametrize("form", ["by position", "by group", "constant"])
def test_the_scan_is_that_of_the_paper(parts, form: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scans, "_CHUNK", 4)
    shape = {
        "by position": (BATCH, STATES, LENGTH),
        "by group": (BATCH, 2, STATES, LENGTH),
        "constant": (CHANNELS, STATES),
    }
    B, C = drawn(*shape[form], seed=4), drawn(*shape[form], seed=5)

    def at(matrix: torch.Tensor):
        values = matrix.double().numpy()
        return {
            "by position": lambda batch, _channel, t: values[batch, :, t],
            "by group": lambda batch, channel, t: values[batch, channel // 2, :, t],
            "constant": lambda _batch, channel, _t: values[channel],
        }[form]

    D, z, bias = drawn(CHANNELS, seed=6), drawn(BATCH, CHANNELS, LENGTH, seed=7), drawn(CHANNELS, seed=8)
    y, last = scans.selective_scan_fn(
        **parts, B=B, C=C, D=D, z=z, delta_bias=bias, delta_softplus=True, return_last_state=True
    )
    steps = F.softplus(parts["delta"].double() + bias.double()[:, None])
    expected = written_out(parts["u"], steps, parts["A"], at(B), at(C), D, z)
    np.testing.assert_allclose(y.numpy(), expected, rtol=2e-5, atol=2e-6)
    assert last.shape == (BATCH, CHANNELS, STATES)
    plain = scans.selective_scan_fn(**parts | {"delta": parts["delta"].abs()}, B=B, C=C)
    expected = written_out(parts["u"], parts["delta"].abs(), parts["A"], at(B), at(C))
    np.testing.assert_allclose(plain.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_a_causal_convolution_sees_only_what_came_before():
    x, weight, bias = drawn(1, 2, 6), drawn(2, 3, seed=1), drawn(2, seed=2)
    y = scans.causal_conv1d_fn(x, weight, bias, activation="silu")
    for channel in range(2):
        for t in range(6):
            seen = [float(x[0, channel, t - 2 + k]) if t - 2 + k >= 0 else 0.0 for k in range(3)]
            value = float(bias[channel]) + sum(a * float(b) for a, b in zip(seen, weight[channel], strict=True))
            assert float(y[0, channel, t]) == pytest.approx(value / (1 + math.exp(-value)), abs=1e-6)


def test_the_block_has_the_keys_and_the_counts_of_the_published_one():
    block = scans.Mamba(32, d_state=8, layer_idx=3)
    shapes = {key: tuple(value.shape) for key, value in block.state_dict().items()}
    assert shapes == {
        "A_log": (64, 8),
        "D": (64,),
        "in_proj.weight": (128, 32),
        "conv1d.weight": (64, 1, 4),
        "conv1d.bias": (64,),
        "x_proj.weight": (18, 64),
        "dt_proj.weight": (64, 2),
        "dt_proj.bias": (64,),
        "out_proj.weight": (32, 64),
    }
    x = drawn(1, 10, 32)
    y = block(x, inference_params=None)
    assert y.shape == x.shape
    # What comes later changes nothing before.
    later = torch.cat([x[:, :6], drawn(1, 4, 32, seed=9)], 1)
    torch.testing.assert_close(block(later)[:, :6], y[:, :6])
    assert not torch.allclose(block(later)[:, 6:], y[:, 6:])


def test_rms_norm_and_span_attention():
    x = drawn(2, 3, 8)
    torch.testing.assert_close(scans.RMSNorm(8)(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    x, features, conv = drawn(1, 4, 5, 6), drawn(1, 4, 5, 6, seed=1), nn.Conv2d(4, 4, 1)
    expected = (x + features) * conv(features)
    torch.testing.assert_close(scans.span_attention(x, features, conv.weight, conv.bias), expected)


class _Scans(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.tail = scans.Mamba(8), nn.Conv2d(8, 48, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = x.shape
        tokens = x.repeat(1, 3, 1, 1)[:, :8].flatten(2).transpose(1, 2)
        return F.pixel_shuffle(self.tail(self.block(tokens).transpose(1, 2).reshape(batch, 8, height, width)), 4)


def test_a_network_with_a_scan_is_counted_and_the_scan_is_named():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        complexity = measure_complexity(_Scans().eval(), input_side=16)
    assert complexity.faults == {}
    assert complexity.suspect_ops == ("esr::selective_scan",)
    assert complexity.flops > 0


def test_imports_of_submissions_find_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    notes = set()
    packages.install(notes)
    from causal_conv1d import causal_conv1d_fn
    from mamba_ssm import Mamba
    from mamba_ssm.modules.mamba_simple import Mamba as Simple
    from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn, selective_scan_fn

    assert (Mamba, Simple) == (scans.Mamba, scans.Mamba)
    assert (selective_scan_fn, causal_conv1d_fn) == (scans.selective_scan_fn, scans.causal_conv1d_fn)
    with pytest.raises(ImportError, match=r"mamba_inner_fn is needed, and mamba_ssm is not installed"):
        mamba_inner_fn()
    assert "mamba_ssm is not installed: stand-in" in notes
    for name in [name for name in sys.modules if name.split(".")[0] in ("mamba_ssm", "causal_conv1d")]:
        monkeypatch.delitem(sys.modules, name)
