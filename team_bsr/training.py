"""The training loop: the recipe's steps one after another, each from the averaged weights of the step before.

What a step computes depends on the plan and on the iteration's number alone, and a checkpoint holds every other
state; so a run that was killed and resumed ends with the same weights as one that was not.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eval.device.groups import usable_cpus
from eval.run.interrupts import ctrl_c_after_keeping
from team_bsr.checkpoint import (
    build_network,
    checkpoint_path,
    checkpoints,
    load_network,
    rotate,
    save_checkpoint,
)
from team_bsr.optimisation import MovingAverage
from team_bsr.patches import PatchBatches, large_images
from team_bsr.plan import Habits, Plan, Run
from team_bsr.progress import Pace, Progress
from team_bsr.pruning import prune
from team_bsr.recipe import Step
from team_bsr.resident import ResidentPatches, fits
from team_bsr.resuming import TrainingError, alone_in, last_good, newest_state
from team_bsr.trainees import TRAINEES, pruned_blocks
from team_bsr.validation import validate

# More than cut patches for one GPU.
_MOST_WORKERS = 8


def train(plan: Plan, habits: Habits, run: Run, accelerator: Accelerator) -> Path:
    """Carry out the plan's steps that ``run.folder`` does not hold yet; return the last checkpoint.

    Raises:
        UsageError, RunError: another training runs in the folder, processes cannot share a step's batch evenly, or no
            image is as large as its patches; nothing was trained then.
        TrainingError: a loss is not finite, or the folder holds a run of another plan, other images or another start.
    """
    with alone_in(run.folder) if accelerator.is_main_process else nullcontext():
        return _train(plan, habits, run, accelerator)


def _train(plan: Plan, habits: Habits, run: Run, accelerator: Accelerator) -> Path:
    newest = newest_state(run, plan)
    steps = [step for step in plan.steps if newest is None or newest["step"] <= step.number]
    for step in steps:
        large_images(run.pairs, plan.sampling(step, accelerator).step)
    progress = Progress(run.folder, plan.steps, accelerator.is_main_process)
    if newest is not None:
        accelerator.print(f"goes on from {checkpoints(run.folder)[-1]}")
    try:
        for step in steps:
            _StepTrainer(step, plan, habits, run, accelerator).finish(newest_state(run, plan), progress)
    except KeyboardInterrupt:
        accelerator.print(f"stopped: {last_good(run.folder)}; the same command goes on")
        raise
    finally:
        progress.close()
    return checkpoints(run.folder)[-1]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let what is initialised inside, on the CPU, depend on ``seed`` alone; the state of GPUs is left alone."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        yield


def first_network(step: Step, plan: Plan, newest: dict[str, Any] | None, start: Path | None) -> nn.Module:
    """Return the network that a step starts from, or that its checkpoint's state will be loaded into.

    It is that of the state of the run's newest checkpoint; if there is none, of the run's start, or a random one.

    Raises:
        RunError: the file is damaged, or holds another network.
        TrainingError: the step trains the unpruned network, and this one is pruned.
    """
    # The branches around weights of the deploy form are the seed's, as random weights are.
    with _seeded(plan.seed):
        if newest is not None:
            network = build_network(newest)
        elif start is not None:
            network = load_network(start, plan.network)
        else:
            network = TRAINEES[plan.network].build(())
        if step.stage == 2 and not pruned_blocks(network):
            network = prune(network, step.rule)
    if step.stage == 1 and pruned_blocks(network):
        raise TrainingError(
            f"step {step.number} trains the unpruned network; --start is pruned already: --steps 4 goes on"
        )
    return network


def _workers(asked: int | None, accelerator: Accelerator) -> int:
    """Return how many processes cut patches: one alone keeps a fast GPU waiting, and a CPU has no other to give."""
    if asked is not None:
        return asked
    return min(_MOST_WORKERS, usable_cpus() // accelerator.num_processes) if accelerator.device.type == "cuda" else 0


class _StepTrainer:
    """One step of a plan: network, averaged weights, optimizer, and the iteration that it stands at."""

    def __init__(self, step: Step, plan: Plan, habits: Habits, run: Run, accelerator: Accelerator) -> None:
        self.step, self.plan, self.habits, self.run, self.accelerator = step, plan, habits, run, accelerator
        self.pace = Pace(plan.steps, run.minutes, accelerator.device)
        self.iteration, self.position, self.psnr_db = 0, 0, {}
        self.started, self.elapsed_s, self.began_s = 0.0, 0.0, 0.0
        self.on_gpu = accelerator.device.type == "cuda"
        # To read a loss is to wait for the GPU.
        every = math.gcd(habits.log_every, habits.checkpoint_every, habits.validate_every)
        self.check_every = every if self.on_gpu else 1

    def finish(self, newest: dict[str, Any] | None, progress: Progress) -> None:
        """Run the step to its end, from the newest checkpoint's weights or, if it is of this step, its state."""
        self._prepare(first_network(self.step, self.plan, newest, self.run.start))
        if newest is not None and newest["step"] == self.step.number:
            self._load(newest)
        elif newest is not None:
            self.elapsed_s = self.began_s = newest["elapsed_s"]
        # As if it had begun so long ago.
        self.started = time.monotonic() - self.elapsed_s
        progress.begin(self.iteration, self.position)
        if self.position >= self.step.iterations and self.run.sets and not self.psnr_db:
            # The last validation was broken off.
            self._validate(progress)
            self._save()
        try:
            for lr, hr in self._batches():
                # The state of half an iteration could not be gone on from.
                with ctrl_c_after_keeping(held=True):
                    loss = self._iterate(lr, hr)
                if self._follow_up(loss, progress):
                    break
        except KeyboardInterrupt:
            with ctrl_c_after_keeping(held=True):
                if self.iteration:
                    self._save()
            raise
        self.optimise.release()
        # The next step reads the checkpoint that the first process has just written.
        self.accelerator.wait_for_everyone()

    def _iterate(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Do one iteration; return its loss, which a GPU may still be computing."""
        loss = self.optimise(lr, hr, self.step.rate_at(self.position, self.iteration))
        self.average.update(self.iteration)
        self.iteration += 1
        self.elapsed_s = time.monotonic() - self.started
        self.position = self._position()
        return loss

    def _follow_up(self, loss: Tensor, progress: Progress) -> bool:
        """Do what is due after an iteration; tell whether it was the step's last one."""
        ended = self.position >= self.step.iterations
        if ended or self.iteration % self.check_every == 0:
            self._check(loss)
        if ended or self.iteration % self.habits.validate_every == 0:
            self._validate(progress)
        if ended or self.iteration % self.habits.checkpoint_every == 0:
            self._save()
        if ended or self.iteration % self.habits.log_every == 0:
            progress.report(self.step, self.iteration, self.position, loss.item())
        return ended

    def _prepare(self, network: nn.Module) -> None:
        self.network = network.to(self.accelerator.device)
        self.average = MovingAverage(self.network, self.step.ema)
        self.optimise = self.habits.optimisation(self.network, self.step, self.accelerator)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the step's remaining batches, uint8 on the device."""
        sampling = self.plan.sampling(self.step, self.accelerator)
        ended = self.position >= self.step.iterations
        rest = range(self.iteration, self.iteration if ended else self.step.iterations)
        pairs, device, asked = self.run.pairs, self.accelerator.device, self.habits.resident
        if asked or (asked is None and self.on_gpu and fits(pairs, device)):
            resident = ResidentPatches(pairs, sampling, device)
            yield from (resident[iteration] for iteration in rest)
            return
        workers = _workers(self.habits.workers, self.accelerator)
        patches = PatchBatches(pairs, sampling)
        for lr, hr in DataLoader(patches, batch_size=None, sampler=rest, num_workers=workers, pin_memory=self.on_gpu):
            yield lr.to(device, non_blocking=True), hr.to(device, non_blocking=True)

    def _check(self, loss: Tensor) -> None:
        """Stop at a loss that is not finite: so are then all weights and losses after it."""
        if not math.isfinite(value := loss.item()):
            raise TrainingError(f"{self._where()}: the loss is {value}; {last_good(self.run.folder)}")

    def _position(self) -> int:
        return self.pace.position(self.step, self.iteration, self.began_s, self.elapsed_s)

    def _validate(self, progress: Progress) -> None:
        if self.run.sets and self.accelerator.is_main_process:
            # If it is broken off, a checkpoint shall not hold that of former weights.
            self.psnr_db = {}
            self.psnr_db = validate(self.average.module, self.run.sets)
            progress.validated(self.step, self.iteration, self.psnr_db)

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": self.step.number,
            "iteration": self.iteration,
            "plan": asdict(self.plan),
            "images": self.run.pairs.crc32,
            "start": self.run.start_sha256,
            "trainee": self.plan.network,
            "pruned_blocks": pruned_blocks(self.network),
            "network": self.network.state_dict(),
            "ema": self.average.module.state_dict(),
            **self.optimise.state(),
            "elapsed_s": self.elapsed_s,
            "began_s": self.began_s,
            "psnr_db": self.psnr_db,
        }
        try:
            save_checkpoint(checkpoint_path(self.run.folder, self.step.number, self.iteration), state)
        except ValueError as error:
            raise TrainingError(f"{self._where()}: {error}; {last_good(self.run.folder)}") from error
        rotate(self.run.folder, self.step.number, self.habits.keep)

    def _load(self, state: dict[str, Any]) -> None:
        """Take up a state; the average has its weights already, for the network was built with them."""
        self.network.load_state_dict(state["network"])
        self.optimise.take_up(state)
        self.iteration, self.elapsed_s, self.psnr_db = state["iteration"], state["elapsed_s"], state["psnr_db"]
        self.began_s = state.get("began_s", 0.0)
        self.position = self._position()

    def _where(self) -> str:
        within = "" if self.check_every == 1 else f" or one of the {self.check_every - 1} before it"
        return f"step {self.step.number}, iteration {self.iteration}{within}"
