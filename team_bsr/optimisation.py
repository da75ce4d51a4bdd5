"""One optimisation step: forward, loss, backward, update; and the exponential average of the weights.

On a GPU a step's kernels are recorded and then started as one: a small network's step is a thousand small kernels, and
a fast GPU would wait for the CPU to start each of them.
"""

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from eval.device.graphs import WARM_UP_RUNS, ReplayedStep
from eval.device.numerics import cudnn_trials
from team_bsr.losses import LOSSES
from team_bsr.optimizers import OPTIMIZERS
from team_bsr.recipe import Step


def can_be_recorded(accelerator: Accelerator) -> bool:
    """Tell whether steps can be recorded: on one GPU, without a scaler, which reads gradients back on the CPU."""
    alone = accelerator.num_processes == 1 and accelerator.scaler is None
    return alone and accelerator.device.type == "cuda"


class Optimisation:
    """Optimises a network, in place on the accelerator's device, as a step of the recipe says.

    ``recorded`` (see ``can_be_recorded``) and ``compiled`` are for one process, as ``plan.Habits`` says.
    """

    def __init__(
        self, network: nn.Module, step: Step, accelerator: Accelerator, recorded: bool, compiled: bool = False
    ) -> None:
        self._accelerator, self._criterion, self._recorded = accelerator, LOSSES[step.loss], recorded
        # What the accelerator wraps around a forward is no graph; autocast is entered below.
        whole = torch.compile(network.forward, fullgraph=True, dynamic=False) if compiled else None
        parallel, *self._optimizers = accelerator.prepare(network, *OPTIMIZERS[step.optimizer](network, step))
        self._forward = whole or parallel
        self._set_up()
        self._run = ReplayedStep(self._step, accelerator.device) if recorded else self._step

    @property
    def unlike_calls(self) -> int:
        """How many calls at first are slower than all later ones: libraries set themselves up, kernels are recorded."""
        return WARM_UP_RUNS + 1 if self._recorded else 1

    def __call__(self, lr: Tensor, hr: Tensor, rate: float) -> Tensor:
        """Take one step at a learning rate and return the loss, which a GPU may still be computing.

        ``lr`` is ``(b, 3, p, p)`` and ``hr`` is ``(b, 3, 4p, 4p)``, both uint8, on the device.
        """
        for group in self._groups():
            if self._recorded:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        with cudnn_trials():
            return self._run(lr, hr)

    def state(self) -> dict[str, Any]:
        """Return the optimizers' states, and the scaler's."""
        scaler = self._accelerator.scaler
        states = [optimizer.state_dict() for optimizer in self._optimizers]
        return {"optimizer": states, "scaler": None if scaler is None else scaler.state_dict()}

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned, on whatever device."""
        states = state["optimizer"]
        # Older checkpoints hold the state of the only one.
        for optimizer, its in zip(self._optimizers, states if isinstance(states, list) else [states], strict=True):
            optimizer.load_state_dict(its)
        self._set_up()
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])

    def release(self) -> None:
        """Forget the recording, which holds the memory of a whole step; it is this object's, and holds it, too."""
        del self._run

    def _groups(self) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(optimizer.param_groups for optimizer in self._optimizers)

    def _set_up(self) -> None:
        """Let a recorded step read its rate from the device: what is a number is recorded with its value."""
        for group in self._groups():
            rate = float(group["lr"])
            group["lr"] = torch.tensor(rate, device=self._accelerator.device) if self._recorded else rate
            group["capturable"] = self._recorded

    def _step(self, lr: Tensor, hr: Tensor) -> Tensor:
        with self._accelerator.autocast():
            sr = self._forward(_as_float(lr))
        loss = self._criterion(sr.float(), _as_float(hr))
        self._accelerator.backward(loss)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach()


def _as_float(patches: Tensor) -> Tensor:
    """Return uint8 patches as float32 in [0, 1], channels last."""
    return patches.float().div_(255).contiguous(memory_format=torch.channels_last)


class MovingAverage:
    """Averaged weights of a network, as ``module``; the decay grows to ``decay``, so that the average starts fast.

    torch's own ``AveragedModel`` counts on the CPU and copies its count to the device at each update, which waits for
    all that a GPU has to do.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module, self._decay = deepcopy(network), decay
        self._averaged: list[Tensor] = [*self.module.parameters()]
        self._current: list[Tensor] = [*network.parameters()]
        self._buffers = [*zip(self.module.buffers(), network.buffers(), strict=True)]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Take the network's weights in; so many updates were done before, and the first one copies them."""
        decay = min(self._decay, (1 + updates) / (10 + updates)) if updates else 0.0
        get_ema_multi_avg_fn(decay)(self._averaged, self._current, updates)
        for averaged, now in self._buffers:
            averaged.copy_(now)
