"""What a GPU must show of training: its step recorded and compiled is the same step."""

import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator

from bench.gpu_checks import Row
from team_bsr.network import TrainingPFDNLite
from team_bsr.optimisation import Optimisation, can_be_recorded
from team_bsr.pruning import PRUNED_BLOCKS
from team_bsr.recipe import load_recipe


def check_training(device: torch.device) -> Iterator[Row]:
    """A step of training as it is, recorded, and compiled: the same losses, and the patches a second of each."""
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16")
    step = load_recipe(preset="gpu-minutes")[3]
    count, batch = (40, step.batch) if device.type == "cuda" else (4, 2)
    random = torch.Generator().manual_seed(0)
    hr = torch.randint(256, (batch, 3, step.hr_patch, step.hr_patch), dtype=torch.uint8, generator=random).to(device)
    expected: list[float] = []
    ways = {"as it is": (False, False), "recorded": (True, False), "recorded and compiled": (True, True)}
    for name, (recorded, compiled) in ways.items():
        if recorded and not can_be_recorded(accelerator):
            continue
        start_s = time.perf_counter()
        torch.manual_seed(0)
        network = TrainingPFDNLite(pruned_blocks=PRUNED_BLOCKS).to(device)
        optimise = Optimisation(network, step, accelerator, recorded, compiled)
        losses = [optimise(hr[:, :, ::4, ::4].contiguous(), hr, 1e-3).item() for _ in range(8)]
        ready_s, start_s = time.perf_counter() - start_s, time.perf_counter()
        for _ in range(count):
            loss = optimise(hr[:, :, ::4, ::4].contiguous(), hr, 1e-3)
        losses.append(loss.item())
        rate = count * batch / (time.perf_counter() - start_s)
        expected = expected or losses
        off = max(abs(a / b - 1) for a, b in zip(losses, expected, strict=True))
        words = f"{rate:.0f} patches/s after {ready_s:.0f} s, losses within {off:.2%}"
        yield Row(f"{batch} patches of {step.hr_patch}, {name}", words, off < 0.05)


TRAINING_CHECKS = {"training": (check_training, 150)}
