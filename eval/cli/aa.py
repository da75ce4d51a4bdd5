"""A model timed against itself: what the steady protocol calls a difference where there is none, as a page."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from math import comb
from pathlib import Path
from statistics import median

import torch
import typer

from eval.cli.program import FAILURE_EXIT
from eval.cli.session import Session
from eval.config import RunConfig
from eval.data.datasets import Dataset
from eval.report.renderers import to_markdown
from eval.report.table import Column, Table
from eval.report.tables import write_files
from eval.run.environment import describe_environment
from eval.run.model_source import ModelSource
from eval.run.speed_pass import opened_together
from eval.timing.interleaved import measure_together
from eval.timing.presets import PRESETS
from eval.timing.samples import Ratio
from eval.words import counted

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
        return self.covered >= least_covered(len(self.repeats)) and self.agreed == len(self.repeats)


def least_covered(repeats: int) -> int:
    """Return how many of so many 95% intervals must cover 1: of equal copies fewer do so in under 5% of trials.

    An interval misses by chance once in 20, so ``count`` of them cover in ``comb(repeats, count) * 19**count`` of the
    ``20**repeats`` cases; these are whole numbers, and nothing is rounded.
    """
    at_most = accumulate(comb(repeats, count) * 19**count for count in range(repeats))
    return sum(20 * cases < 20**repeats for cases in at_most)


def run_trial(
    model: ModelSource, dataset: Dataset, config: RunConfig, repeats: int, on_repeat: Callable[[Repeat], None]
) -> Trial:
    """Time two separately opened copies of a model together, again and again, each time in another order.

    They are opened, and run under the same switches, as the steady protocol does it; the seed of ``config``, which is
    resolved, is that of the first repeat.
    """
    done = []
    with opened_together([(model, config)] * 2, dataset) as copies:
        for seed in range(config.seed, config.seed + repeats):
            first, second = measure_together(copies, dataset, PRESETS[config.preset], seed)
            done.append(Repeat(second.ratio, sum(first.dropped.values())))
            on_repeat(done[-1])
    return Trial(tuple(done))


def summary(trial: Trial) -> list[str]:
    """Return the trial's outcome in sentences."""
    count = len(trial.repeats)
    least = f"at least {least_covered(count)}, which chance misses in under 5% of trials"
    widths = [(repeat.ratio.high - repeat.ratio.low) / 2 for repeat in trial.repeats if repeat.ratio]
    apart = [abs(repeat.ratio.estimate - 1) for repeat in trial.repeats if repeat.ratio]
    lines = [
        f"{trial.covered} of {count} intervals cover a ratio of 1 (expected: {least})",
        f"{trial.agreed} of {count} ratios of p50 lie within {P50_WITHIN:.0%} of 1 (expected: all)",
    ]
    if widths:
        lines.append(f"half-width of the intervals, median: {median(widths):.2%}")
        lines.append(f"ratios of p50, distance from 1: median {median(apart):.2%}, largest {max(apart):.2%}")
    return [*lines, f"disturbed stretches dropped: {sum(repeat.dropped for repeat in trial.repeats)}"]


def markdown(title: str, facts: list[str], trial: Trial) -> str:
    """Return a page: facts of the run, its outcome, and a row a repeat."""
    within = f"within {P50_WITHIN:.0%}"
    titles = ("Repeat", "Ratio of p50", "from", "to", "covers 1", within, "dropped")
    rows = []
    for number, repeat in enumerate(trial.repeats, 1):
        ratio = repeat.ratio
        figures = (ratio.estimate, ratio.low, ratio.high) if ratio else (None,) * 3
        verdicts = ("yes" if verdict else "NO" for verdict in (repeat.covers_one, repeat.p50_agrees))
        rows.append([number, *figures, *verdicts, repeat.dropped])
    columns = [Column(its, its, decimals=0 if its in ("Repeat", "dropped") else 4) for its in titles]
    listing = "\n".join(f"- {line}" for line in (*facts, *summary(trial)))
    return f"# {title}\n\n{listing}\n\n{to_markdown(Table.of(columns, rows))}\n"


def against_itself(session: Session, source: ModelSource, dataset: Dataset, repeats: int) -> None:
    """Carry a trial out, say its outcome and write aa.md; end with exit code 1 where it does not pass."""
    config, label = session.evaluation.config, source.info.full_name
    with session.terminal.progress(label, repeats, "repeats") as on_repeat:
        trial = run_trial(source, dataset, config, repeats, on_repeat)
    for line in summary(trial):
        session.terminal.say(line)
    session.terminal.say(f"written: {write_trial(trial, label, dataset, config, session.save_dir)}")
    if not trial.passed:
        raise typer.Exit(FAILURE_EXIT)


def write_trial(trial: Trial, label: str, dataset: Dataset, config: RunConfig, folder: Path) -> Path:
    """Write aa.md: what was timed where, the outcome, and a row a repeat."""
    environment = describe_environment(torch.device(config.device))
    images, most = len(dataset.pairs), PRESETS[config.preset].images
    part = f"{most} of " if most < images else ""
    facts = [
        f"{label} against itself, {part}{counted(images, 'image')} of {dataset.name}, preset {config.preset}",
        f"{environment.machine}, torch {environment.torch}",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {environment.commit}",
    ]
    (path,) = write_files(folder, {"aa.md": markdown("A model against itself", facts, trial)})
    return path
