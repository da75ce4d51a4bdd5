"""How far a step has come: by its iterations, or by its share of the minutes that a run may take."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate.utils import broadcast

from team_bsr.progress import lr_pixels
from team_bsr.recipe import Step


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

        Args:
            step: the one that runs.
            iteration: iterations done.
            began_s: seconds that the run had taken when the step began.
            elapsed_s: seconds that it has taken.
        """
        if self.minutes is None:
            return iteration
        whole = sum(lr_pixels(other, other.iterations) for other in self.steps if other.number >= step.number)
        share_s = (60 * self.minutes - began_s) * lr_pixels(step, step.iterations) / whole
        spent = (elapsed_s - began_s) / share_s if share_s > 0 else 1.0
        # All processes go by the first one's clock.
        told = broadcast(torch.tensor(spent, dtype=torch.float32, device=self.device))
        return max(iteration, min(step.iterations, int(step.iterations * told.item())))
