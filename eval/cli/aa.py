"""A model timed against itself: what the steady protocol calls a difference where there is none."""

from collections.abc import Callable
from dataclasses import dataclass

from eval.config import RunConfig
from eval.data.datasets import Dataset
from eval.run.model_source import ModelSource
from eval.run.speed_pass import opened_together
from eval.timing.interleaved import measure_together
from eval.timing.presets import PRESETS
from eval.timing.samples import Ratio

# Of 40 repeats 36 must cover 1: with 95% intervals fewer happen by chance in less than 1 of 20 trials.
LEAST_COVERED = 0.9
P50_WITHIN = 0.01


@dataclass(frozen=True)
class Repeat:
    """One repeat. ``ratio`` is the second copy's runtime over the first's; None if every sample was disturbed.

    A runtime is the mean over images of each image's p50, so this is the ratio of those.
    """

    ratio: Ratio | None
    dropped: int

    @property
    def covers_one(self) -> bool:
        """Tell whether the interval says that the copies may be equal."""
        return self.ratio is not None and self.ratio.low <= 1 <= self.ratio.high

    @property
    def p50_agrees(self) -> bool:
        """Tell whether the copies' p50 lie within 1% of each other."""
        return self.ratio is not None and abs(self.ratio.estimate - 1) <= P50_WITHIN


@dataclass(frozen=True)
class Trial:
    """All repeats."""

    repeats: tuple[Repeat, ...]

    @property
    def covered(self) -> int:
        """The number of repeats whose interval covers 1."""
        return sum(repeat.covers_one for repeat in self.repeats)

    @property
    def agreed(self) -> int:
        """The number of repeats whose p50 agree."""
        return sum(repeat.p50_agrees for repeat in self.repeats)

    @property
    def passed(self) -> bool:
        """Tell whether enough intervals cover 1, and all p50 agree."""
        return self.covered >= LEAST_COVERED * len(self.repeats) and self.agreed == len(self.repeats)


def run_trial(
    model: ModelSource, dataset: Dataset, config: RunConfig, repeats: int, on_repeat: Callable[[Repeat], None]
) -> Trial:
    """Time two separately opened copies of a model together, again and again, each time in another order.

    They are opened, and run under the same switches, as the steady protocol does it.

    Args:
        model: what is timed against itself.
        dataset: on these images.
        config: of the steady protocol, resolved; its seed is that of the first repeat.
        repeats: how often.
        on_repeat: called after each repeat.
    """
    done = []
    with opened_together([(model, config)] * 2, dataset) as copies:
        for seed in range(config.seed, config.seed + repeats):
            first, second = measure_together(copies, dataset, PRESETS[config.preset], seed)
            done.append(Repeat(second.ratio, sum(first.dropped.values())))
            on_repeat(done[-1])
    return Trial(tuple(done))
