"""What a training run is given, and what it would do.

The plan decides its result, habits do not; a run says where and on what it is carried out.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn

from eval.config import AUTO
from eval.data.datasets import Dataset
from eval.device.gain import half_precision_gain
from eval.errors import UsageError
from eval.words import counted
from eval.zoo.checkpoints import file_sha256
from team_bsr.checkpoint import checkpoints, load_checkpoint
from team_bsr.data import Pairs
from team_bsr.optimisation import MovingAverage, Optimisation, can_be_recorded
from team_bsr.patches import Sampling
from team_bsr.pruning import PRUNED_BLOCKS
from team_bsr.recipe import Step
from team_bsr.sources import SCALE
from team_bsr.survey import Survey, steps_left_out
from team_bsr.trainees import PFDNLITE, TRAINEES

TIMED_ITERATIONS = 3
# Autocast converts weights and inputs in each iteration, which takes some of the gain.
_LEAST_GAIN = 1.5
# Decoding all of DIV2K and LSDIR takes hours, and by default processes that wait give up after ten minutes.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Plan:
    """What decides the result: with the same images, these values give the same weights, bit for bit on a CPU.

    Attributes:
        steps: steps of the recipe, in order.
        seed: of initial weights and patches.
        precision: "no" (float32), "bf16" or "fp16", under autocast.
        network: name in ``trainees.TRAINEES``.

    Raises:
        UsageError: a step prunes a network that has no pruned form, or one after it trains the unpruned one; or its
            optimizer does not work in this precision.
    """

    steps: tuple[Step, ...]
    seed: int = 0
    precision: str = "no"
    network: str = PFDNLITE

    def __post_init__(self) -> None:
        if not TRAINEES[self.network].can_be_pruned and any(step.stage == 2 for step in self.steps):
            raise UsageError(f"--network {self.network}: has no pruned form; leave step 4 out: --steps 1,2,3")
        for step in self.steps:
            # The scaler's factor changes after each optimizer, in the midst of a step that has two.
            if self.precision == "fp16" and step.optimizer != "adamw":
                raise UsageError(
                    f"step {step.number}: optimizer {step.optimizer}: does not work with --precision fp16; "
                    "expected bf16 or no"
                )
        for before, step in pairwise(self.steps):
            if step.stage < before.stage:
                raise UsageError(f"step {step.number}: stage: expected 2, as of step {before.number}, got {step.stage}")

    def sampling(self, step: Step, accelerator: Accelerator) -> Sampling:
        """Return how a process draws a step's patches; raises as ``Sampling`` does."""
        return Sampling(step, self.seed, accelerator.process_index, accelerator.num_processes)


@dataclass(frozen=True)
class Habits:
    """What a run does on its way, which does not change its result; the flags of ``train`` say what each is.

    Intervals are in iterations, and each step's end is logged, validated and kept, too. None leaves it to the device:
    beside a GPU some ``workers`` cut patches, or images are ``resident`` on it where they fit; beside a CPU neither.
    ``compiled`` is for a single process.
    """

    log_every: int = 100
    validate_every: int = 1000
    checkpoint_every: int = 1000
    keep: int = 3
    workers: int | None = None
    resident: bool | None = None
    recorded: bool = True
    compiled: bool = False

    def optimisation(self, network: nn.Module, step: Step, accelerator: Accelerator) -> Optimisation:
        """Return what optimises a network on the accelerator's device, recorded and compiled where it can be."""
        recorded = self.recorded and can_be_recorded(accelerator)
        return Optimisation(network, step, accelerator, recorded, self.compiled and accelerator.num_processes == 1)


@dataclass(frozen=True)
class Run:
    """Where a plan is carried out, and on what.

    Attributes:
        folder: of checkpoints and TensorBoard files; a run that it holds is gone on with.
        pairs: training images.
        sets: validation images.
        start: checkpoint, or weights, that the first step starts from instead of random ones.
        minutes: time after which the run ends, all commands that carry it out together; each step takes its share.
    """

    folder: Path
    pairs: Pairs
    sets: Sequence[Dataset] = ()
    start: Path | None = None
    minutes: float | None = None

    @cached_property
    def start_sha256(self) -> str | None:
        """The hash of the file that the first step starts from; None where it starts from random weights."""
        return None if self.start is None else file_sha256(self.start)


def accelerator_of(cpu: bool, plan: Plan) -> Accelerator:
    """Return this process's accelerator, whose others wait as long as the first one decodes images.

    Raises:
        UsageError: the device does not compute in the plan's precision, or processes cannot share a batch evenly.
    """
    patience = InitProcessGroupKwargs(timeout=_PATIENCE)
    try:
        accelerator = Accelerator(cpu=cpu, mixed_precision=plan.precision, kwargs_handlers=[patience])
    except ValueError as error:
        raise UsageError(f"--precision {plan.precision}: {error}") from error
    # On a CPU accelerate takes fp16 and computes in float32.
    if plan.precision != "no" and not accelerator.native_amp:
        raise UsageError(
            f"--precision {plan.precision}: expected one that {accelerator.device} computes in: no, bf16, auto"
        )
    for step in plan.steps:
        plan.sampling(step, accelerator)
    return accelerator


def precision_here(asked: str, cpu: bool, folder: Path) -> str:
    """Return what autocast computes in; ``auto`` is bf16 where a convolution is clearly faster in it, else float32.

    A run that goes on in ``folder`` keeps its precision. Of several processes the first one measures for all, on its
    own device.
    """
    if asked != AUTO:
        return asked
    if found := checkpoints(folder):
        return load_checkpoint(found[-1])["plan"]["precision"]
    state = PartialState(cpu=cpu, timeout=_PATIENCE)
    told: list[Any] = [None]
    if state.is_main_process and state.device is not None:
        gains = state.device.type != "mps" and half_precision_gain(state.device, "bf16") >= _LEAST_GAIN
        told = ["bf16" if gains else "no"]
    broadcast_object_list(told)
    return told[0]


def describe_data(plan: Plan, images: Survey) -> Iterator[str]:
    """Yield what is used of the data, what is not, and why.

    Raises:
        RunError: a step has no image that is large enough.
    """
    yield f"images   {images}"
    yield f"LR       {'from ' + ', '.join(map(str, images.sources.lr)) if images.partners else 'made by exact bicubic'}"
    yield from (f"skipped: {fault}" for fault in images.faults)
    yield from steps_left_out(plan.steps, images)


def describe(plan: Plan, habits: Habits, minutes: float | None, accelerator: Accelerator) -> Iterator[str]:
    """Yield the lines of ``--dry_run``: steps, and the time expected from a few timed iterations."""
    yield f"network  {plan.network}"
    yield f"device   {accelerator.device}, {counted(accelerator.num_processes, 'process')}, precision {plan.precision}"
    yield f"seed     {plan.seed}"
    for step in plan.steps:
        falls = "falling linearly to 0" if step.schedule == "linear" else f"halved every {step.halve_every}"
        yield (
            f"step {step.number}   stage {step.stage}, {step.iterations} iterations of {step.batch} patches of "
            f"{step.hr_patch}x{step.hr_patch}, {step.loss}, rate {step.rate:g} {falls}, "
            f"{step.optimizer}, betas {step.betas}, weight decay {step.weight_decay:g}, average {step.ema:g}"
        )
    yield f"timing   {TIMED_ITERATIONS} iterations of each step"
    total = 0.0
    for step in plan.steps:
        seconds = _iteration_seconds(plan, habits, step, accelerator)
        total += seconds * step.iterations
        whole = timedelta(seconds=round(seconds * step.iterations))
        yield f"step {step.number}   {seconds:.3f} s an iteration, {whole}"
    yield f"expected {timedelta(seconds=round(total))}, validation not counted"
    if minutes is not None:
        yield f"minutes  {minutes:g}, in which {min(1, 60 * minutes / total):.0%} of each step's iterations fit"


def _iteration_seconds(plan: Plan, habits: Habits, step: Step, accelerator: Accelerator) -> float:
    """Time what training does with this process's share of a batch; the first iterations do not count."""
    network = TRAINEES[plan.network].build(PRUNED_BLOCKS if step.stage == 2 else ()).to(accelerator.device)
    average, optimise = MovingAverage(network, step.ema), habits.optimisation(network, step, accelerator)
    shape = (max(1, step.batch // accelerator.num_processes), 3)
    lr, hr = (
        torch.randint(256, (*shape, side, side), dtype=torch.uint8, device=accelerator.device)
        for side in (step.hr_patch // SCALE, step.hr_patch)
    )

    def once(iteration: int) -> Tensor:
        loss = optimise(lr, hr, step.rate_at(iteration, iteration))
        average.update(iteration)
        return loss

    first = optimise.unlike_calls
    # To read a loss is to wait for the GPU.
    [once(iteration) for iteration in range(first)][-1].item()
    started = time.perf_counter()
    [once(iteration) for iteration in range(first, first + TIMED_ITERATIONS)][-1].item()
    seconds = (time.perf_counter() - started) / TIMED_ITERATIONS
    optimise.release()
    return seconds
