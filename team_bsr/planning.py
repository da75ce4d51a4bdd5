"""What a training run would do, told before it does it."""

import time
from collections.abc import Iterator
from datetime import timedelta

import torch
from accelerate import Accelerator

from team_bsr.losses import LOSSES
from team_bsr.plan import Plan
from team_bsr.pruning import PRUNED_BLOCKS
from team_bsr.recipe import Step
from team_bsr.sources import SCALE
from team_bsr.survey import Survey, steps_left_out
from team_bsr.trainees import TRAINEES

TIMED_ITERATIONS = 3


def describe_data(plan: Plan, images: Survey) -> Iterator[str]:
    """Yield what is used of the data, what is not, and why.

    Raises:
        RunError: a step has no image that is large enough.
    """
    yield f"images   {images}"
    yield f"LR       {'from ' + ', '.join(map(str, images.sources.lr)) if images.partners else 'made by exact bicubic'}"
    yield from (f"skipped: {fault}" for fault in images.faults)
    yield from steps_left_out(plan.steps, images)


def describe(plan: Plan, minutes: float | None, accelerator: Accelerator) -> Iterator[str]:
    """Yield the lines of ``--dry_run``: steps, and the time expected from a few timed iterations."""
    yield f"network  {plan.network}"
    yield f"device   {accelerator.device}, {accelerator.num_processes} process(es), precision {plan.precision}"
    yield f"seed     {plan.seed}"
    total = 0.0
    for step in plan.steps:
        seconds = _iteration_seconds(plan, step, accelerator)
        total += seconds * step.iterations
        yield (
            f"step {step.number}   stage {step.stage}, {step.iterations} iterations of {step.batch} patches of "
            f"{step.hr_patch}x{step.hr_patch}, {step.loss}, rate {step.rate:g} halved every {step.halve_every}, "
            f"betas {step.betas}, weight decay {step.weight_decay:g}, average {step.ema:g}; "
            f"{seconds:.3f} s an iteration, {timedelta(seconds=round(seconds * step.iterations))}"
        )
    yield f"expected {timedelta(seconds=round(total))}, validation not counted"
    if minutes is not None:
        yield f"minutes  {minutes:g}, in which {min(1, 60 * minutes / total):.0%} of each step's iterations fit"


def _iteration_seconds(plan: Plan, step: Step, accelerator: Accelerator) -> float:
    """Time forward and backward of this process's share of a batch; the first iteration does not count."""
    network = TRAINEES[plan.network].build(PRUNED_BLOCKS if step.stage == 2 else ()).to(accelerator.device)
    shape = (max(1, step.batch // accelerator.num_processes), 3, step.hr_patch // SCALE, step.hr_patch // SCALE)
    lr = torch.rand(shape, device=accelerator.device).contiguous(memory_format=torch.channels_last)
    hr = torch.rand((*shape[:2], step.hr_patch, step.hr_patch), device=accelerator.device)
    for iteration in range(TIMED_ITERATIONS + 1):
        if iteration == 1:
            started = time.perf_counter()
        with accelerator.autocast():
            sr = network(lr)
        loss = LOSSES[step.loss](sr.float(), hr)
        loss.backward()
        loss.item()
    return (time.perf_counter() - started) / TIMED_ITERATIONS
