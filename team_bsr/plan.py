"""What a training run is given: the plan that decides its result, its habits, and where and on what it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.data.datasets import Dataset
from eval.errors import UsageError
from team_bsr.data import Pairs
from team_bsr.recipe import Step
from team_bsr.trainees import PFDNLITE, TRAINEES


@dataclass(frozen=True)
class Plan:
    """What decides the result: with the same images, these values give the same weights, bit for bit on a CPU.

    Attributes:
        steps: steps of the recipe, in order.
        seed: of initial weights and patches.
        precision: "no" (float32), "bf16" or "fp16", under autocast.
        network: name in ``trainees.TRAINEES``.

    Raises:
        UsageError: a step prunes a network that has no pruned form.
    """

    steps: tuple[Step, ...]
    seed: int = 0
    precision: str = "no"
    network: str = PFDNLITE

    def __post_init__(self) -> None:
        if not TRAINEES[self.network].can_be_pruned and any(step.stage == 2 for step in self.steps):
            raise UsageError(f"--network {self.network}: has no pruned form; leave step 4 out: --steps 1,2,3")


@dataclass(frozen=True)
class Habits:
    """What a run does on its way, which does not change its result. Intervals are in iterations.

    Attributes:
        log_every: between lines of progress and TensorBoard points.
        validate_every: between validations; each step's end has one too.
        checkpoint_every: between checkpoints; each step's end has one too.
        keep: newest checkpoints to keep of the step that runs.
        workers: processes that read patches; 0 reads them in the training process.
    """

    log_every: int = 100
    validate_every: int = 1000
    checkpoint_every: int = 1000
    keep: int = 3
    workers: int = 0


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
