"""One optimisation step: what a recorded one reads from the device is what a plain one is told."""

import gc
import weakref

import pytest
import torch
from accelerate import Accelerator

from models.team08_ABPN import ABPN
from team_bsr.optimisation import Optimisation, can_be_recorded
from team_bsr.optimizers import OPTIMIZERS
from tests.team_bsr.test_training import small_step


class Replayed:
    """Stands in for a recording: it runs the step again, and keeps the rate's place as a recording would."""

    def __init__(self, run, device: torch.device) -> None:
        assert device == torch.device("cpu")
        self.run = run

    def __call__(self, lr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        groups = [*self.run.__self__._groups()]
        # Without it torch refuses to be recorded.
        assert all(group["capturable"] for group in groups)
        rates = [group["lr"] for group in groups]
        self.places = getattr(self, "places", rates)
        assert all(now is first for now, first in zip(rates, self.places, strict=True))
        return self.run(lr, hr)


@pytest.fixture
def batches():
    random = torch.Generator().manual_seed(0)

    def batch(side: int) -> torch.Tensor:
        return torch.randint(256, (2, 3, side, side), dtype=torch.uint8, generator=random)

    return [(batch(10), batch(40)) for _ in range(4)]


def optimised(batches, name: str, recorded: bool, take_up_after: int | None = None, recorded_after: bool = False):
    torch.manual_seed(0)
    network, accelerator, step = ABPN(), Accelerator(cpu=True), small_step(loss="charbonnier", optimizer=name)
    optimise, losses = Optimisation(network, step, accelerator, recorded), []
    for number, (lr, hr) in enumerate(batches):
        if number == take_up_after:
            state = optimise.state()
            optimise = Optimisation(network, step, accelerator, recorded_after)
            optimise.take_up(state)
        losses.append(optimise(lr, hr, 2 ** -(10.0 + number)).item())
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]), losses


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("recorded", "after"), [(True, True), (True, False), (False, True)])
def test_recorded_steps_and_those_gone_on_with_are_the_plain_ones(monkeypatch, batches, name, recorded, after):
    monkeypatch.setattr("team_bsr.optimisation.ReplayedStep", Replayed)
    expected, losses = optimised(batches, name, recorded=False)
    found, its_losses = optimised(batches, name, recorded, take_up_after=2, recorded_after=after)
    # These rates lose nothing where they lie on the device, in float32.
    assert torch.equal(found, expected)
    assert its_losses == losses


@pytest.mark.parametrize("recorded", [False, True])
def test_what_a_step_held_is_gone_when_it_has_ended(monkeypatch, batches, recorded: bool):
    """A recording holds the memory of a whole step; the next one needs it before Python looks for cycles."""
    monkeypatch.setattr("team_bsr.optimisation.ReplayedStep", Replayed)
    gc.collect()
    gc.disable()
    try:
        optimise = Optimisation(ABPN(), small_step(loss="charbonnier"), Accelerator(cpu=True), recorded)
        optimise(*batches[0], 1e-4)
        held = weakref.ref(optimise)
        optimise.release()
        del optimise
        assert held() is None
    finally:
        gc.enable()


def test_steps_are_recorded_on_one_gpu_without_a_scaler_only():
    def asked(device: str = "cuda", processes: int = 1, scaler: object = None) -> bool:
        words = {"device": torch.device(device), "num_processes": processes, "scaler": scaler}
        return can_be_recorded(type("Told", (), words)())

    assert asked()
    assert not asked("cpu")
    assert not asked("mps")
    assert not asked(processes=2)
    assert not asked(scaler=object())
