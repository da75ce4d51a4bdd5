"""What needs CUDA in submissions, in plain PyTorch by its published definition: the same result, slowly.

The selective scan and the block around it: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State
Spaces", 2023, Algorithm 2 and Figure 3. RMSNorm: Zhang and Sennrich, 2019. ``span_attention``: as its own entry of 2026
has it in Python beside the operator.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Positions whose factors are in memory at once.
_CHUNK = 256


@torch.library.custom_op("esr::selective_scan", mutates_args=())
def _scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``y_t = C_t h_t`` with ``h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t``, and the last ``h``.

    One operator to whatever traces a network, as the one for CUDA is.

    Args:
        u: inputs, ``(batch, channels, length)``.
        delta: steps, as ``u``.
        A: ``(channels, states)``.
        B: ``(batch, groups, states, length)``, groups of equally many channels; length 1 if all positions share it.
        C: as ``B``.
        state: ``h`` before the first position, ``(batch, channels, states)``.
    """
    groups = max(B.shape[1], C.shape[1])
    split = (groups, u.shape[1] // groups)
    # Position first, so that what a step reads lies together; groups are not repeated for their channels.
    u, delta = (values.permute(2, 0, 1).unflatten(2, split) for values in (u, delta))
    A, state = A.unflatten(0, split), state.unflatten(1, split)
    B, C = (M.permute(3, 0, 1, 2).unsqueeze(3) for M in (B, C))
    outputs = []
    for at in range(0, len(u), _CHUNK):
        steps, inputs = delta[at : at + _CHUNK, ..., None], u[at : at + _CHUNK, ..., None]
        here_b, here_c = (M if len(M) == 1 else M[at : at + _CHUNK] for M in (B, C))
        states = torch.empty(*steps.shape[:4], A.shape[-1], device=u.device)
        for decay, added, output in zip(torch.exp(steps * A), steps * inputs * here_b, states, strict=True):
            state = torch.addcmul(added, decay, state, out=output)
        outputs.append((states * here_c).sum(-1))
    return torch.cat(outputs).flatten(2).permute(1, 2, 0).contiguous(), state.flatten(1, 2).clone()


@_scan.register_fake
def _(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(delta), torch.empty_like(state)


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Any:
    """Scan ``(batch, channels, length)`` by a state space whose steps and matrices depend on the input.

    ``B`` and ``C`` are ``(channels, states)``, ``(batch, states, length)``, or
    ``(batch, groups, states, length)``; with ``D`` the input is added, with ``z`` the output is gated by SiLU of it.
    """
    if A.is_complex():
        raise ImportError("a complex scan is needed, and mamba_ssm is not installed", name="mamba_ssm")
    steps = delta.float() if delta_bias is None else delta.float() + delta_bias.float()[:, None]
    steps = F.softplus(steps) if delta_softplus else steps
    state = torch.zeros(*u.shape[:2], A.shape[1], device=u.device)
    y, last = _scan(u.float(), steps, A.float(), _by_group(B), _by_group(C), state)
    y = y if D is None else y + u.float() * D.float()[:, None]
    y = (y if z is None else y * F.silu(z.float())).to(u.dtype)
    return (y, last) if return_last_state else y


def _by_group(matrix: Tensor) -> Tensor:
    """Bring ``B`` or ``C`` to ``(batch or 1, groups, states, length or 1)``."""
    matrix = matrix.float()
    if matrix.dim() == 2:
        return matrix[None, :, :, None]
    return matrix[:, None] if matrix.dim() == 3 else matrix


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Any = None,
    activation: str | None = None,
    **others: Any,
) -> Tensor:
    """Convolve each channel of ``(batch, channels, length)`` with what came before, by ``(channels, width)``."""
    if seq_idx is not None or any(value is not None and value is not False for value in others.values()):
        raise ImportError("more of causal_conv1d is needed, and it is not installed", name="causal_conv1d")
    y = F.conv1d(F.pad(x, (weight.shape[1] - 1, 0)), weight[:, None], bias, groups=x.shape[1])
    return F.silu(y) if activation in ("silu", "swish") else y


class Mamba(nn.Module):
    """The block of the paper's Figure 3 on ``(batch, length, d_model)``; the keys of its state are mamba_ssm's."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | str = "auto",
        conv_bias: bool = True,
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        **_of_training: Any,
    ) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}
        inner = int(expand * d_model)
        self.d_state, self.dt_rank = d_state, math.ceil(d_model / 16) if isinstance(dt_rank, str) else dt_rank
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=bias, **made)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1, bias=conv_bias, **made)
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * d_state, bias=False, **made)
        self.dt_proj = nn.Linear(self.dt_rank, inner, **made)
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1, device=device).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner, device=device))
        self.out_proj = nn.Linear(inner, d_model, bias=bias, **made)

    def forward(self, hidden_states: Tensor, inference_params: Any = None, **_others: Any) -> Tensor:
        """Project, convolve, scan, gate, project back."""
        if inference_params is not None:
            raise ImportError("Mamba step by step is needed, and mamba_ssm is not installed", name="mamba_ssm")
        x, z = self.in_proj(hidden_states).transpose(1, 2).chunk(2, 1)
        x = F.silu(self.conv1d(x)[..., : x.shape[-1]])
        delta, B, C = self.x_proj(x.transpose(1, 2)).split([self.dt_rank, self.d_state, self.d_state], -1)
        delta = (delta @ self.dt_proj.weight.t()).transpose(1, 2)
        matrices = (-torch.exp(self.A_log.float()), B.transpose(1, 2), C.transpose(1, 2))
        y = selective_scan_fn(x, delta, *matrices, self.D, z, self.dt_proj.bias, delta_softplus=True)
        return self.out_proj(y.transpose(1, 2))


class RMSNorm(nn.Module):
    """Divide by the root mean square of the last axis, and weigh."""

    def __init__(
        self, hidden_size: int, eps: float = 1e-5, device: Any = None, dtype: Any = None, **_others: Any
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, residual: Any = None, **_others: Any) -> Tensor:
        """Normalise."""
        if residual is not None:
            raise ImportError("RMSNorm with a residual is needed, and mamba_ssm is not installed", name="mamba_ssm")
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def span_attention(x: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Weigh the sum of input and features by a 1x1 convolution of the features."""
    return (x + features) * F.conv2d(features, weight.view(*weight.shape[:2], 1, 1), bias)
