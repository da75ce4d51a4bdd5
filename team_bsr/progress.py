"""How far a run has come, by its iterations or by its share of the minutes it may take, and what it tells of that."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic

import torch
from accelerate import PartialState
from accelerate.utils import broadcast
from torch.utils.tensorboard import SummaryWriter

from eval.files import mute
from team_bsr.recipe import Step
from team_bsr.sources import SCALE


def lr_pixels(step: Step, iterations: int) -> int:
    """Return the LR pixels that so many iterations of a step train on; the time that they take goes with them."""
    return iterations * step.batch * (step.hr_patch // SCALE) ** 2


@dataclass(frozen=True)
class Pace:
    """The clock that a run's steps go by.

    Attributes:
        steps: the run's, in order; of the time that is left each has the share that its pixels are of theirs.
        minutes: that the run may take, all its commands together; None for no limit.
        device: of this process.
    """

    steps: Sequence[Step]
    minutes: float | None
    device: torch.device

    def position(self, step: Step, iteration: int, began_s: float, elapsed_s: float) -> int:
        """Return how many of a step's iterations count as done: those that are, or the part of its time that is.

        By it the rate falls and the step ends, so that with limited minutes both keep to them on any machine.
        ``iteration`` counts those done; the run had taken ``began_s`` when the step began, and has ``elapsed_s`` now.
        """
        if self.minutes is None:
            return iteration
        whole = sum(lr_pixels(other, other.iterations) for other in self.steps if other.number >= step.number)
        share_s = (60 * self.minutes - began_s) * lr_pixels(step, step.iterations) / whole
        spent = (elapsed_s - began_s) / share_s if share_s > 0 else 1.0
        if PartialState().num_processes > 1:
            # All processes go by the first one's clock.
            told = broadcast(torch.tensor(spent, dtype=torch.float32, device=self.device))
            assert isinstance(told, torch.Tensor)
            spent = told.item()
        return max(iteration, min(step.iterations, int(step.iterations * spent)))


class Progress:
    """Prints lines with the time left, by all ``steps`` of the plan, and writes TensorBoard events to a folder.

    It is silent where it is not ``active``: in all processes but the first.
    """

    def __init__(self, folder: Path, steps: Sequence[Step], active: bool) -> None:
        self.steps = steps
        self.writer = SummaryWriter(str(folder)) if active else None
        self._mark = monotonic(), 0, 0

    def begin(self, iteration: int, position: int) -> None:
        """Start the clock at the iteration, and the position, that a step begins or goes on from."""
        self._mark = monotonic(), iteration, position

    def report(self, step: Step, iteration: int, position: int, loss: float) -> None:
        """Print and record where training stands after ``iteration`` iterations of ``step``.

        ``position`` is how many iterations count as done, which is more where the run's minutes are limited.
        """
        then, before, counted = self._mark
        now, done = monotonic(), iteration - before
        self._mark = now, iteration, position
        if self.writer is None:
            return
        rate, took_s = step.rate_at(position - 1, iteration - 1), now - then
        pixels_a_second = lr_pixels(step, position - counted) / took_s
        left = lr_pixels(step, step.iterations - position)
        after = sum(lr_pixels(later, later.iterations) for later in self.steps if later.number > step.number)
        _say(
            f"step {step.number}  {iteration}/{step.iterations}  {step.loss} {loss:.5f}  "
            f"rate {rate:.2e}  {done * step.batch / took_s:.1f} patches/s  "
            f"step ends in {_time(left, pixels_a_second)}, all in {_time(left + after, pixels_a_second)}"
        )
        figures = {"loss": loss, "rate": rate, "lr_pixels_per_s": lr_pixels(step, done) / took_s}
        _add(self.writer, figures, step, iteration)

    def validated(self, step: Step, iteration: int, psnr_db: dict[str, float]) -> None:
        """Print and record PSNR in dB by set's name."""
        if self.writer is None:
            return
        shown = "  ".join(f"{name} {value:.3f} dB" for name, value in psnr_db.items())
        _say(f"step {step.number}  {iteration}/{step.iterations}  PSNR: {shown}")
        _add(self.writer, {f"psnr_db/{name}": value for name, value in psnr_db.items()}, step, iteration)

    def close(self) -> None:
        """Flush what TensorBoard has not written yet."""
        if self.writer is not None:
            self.writer.close()


def _say(line: str) -> None:
    """Print a line at once; a reader that goes, as ``tee`` does with its terminal, ends no training."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        mute(sys.stdout)


def _add(writer: SummaryWriter, values: dict[str, float], step: Step, iteration: int) -> None:
    for name, value in values.items():
        writer.add_scalar(f"step{step.number}/{name}", value, iteration)


def _time(pixels: int, pixels_a_second: float) -> str:
    """Return how long so many pixels take; where minutes are limited, none may have come to count between reports."""
    if pixels and not pixels_a_second:
        return "an unknown time"
    return str(timedelta(seconds=round(pixels / pixels_a_second if pixels else 0)))
