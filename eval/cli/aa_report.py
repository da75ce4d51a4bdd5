"""A trial of a model against itself, as a page."""

from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch

from eval.cli.aa import LEAST_COVERED, P50_WITHIN, Trial
from eval.config import RunConfig
from eval.data.datasets import Dataset
from eval.report.renderers import to_markdown
from eval.report.table import Column, Table
from eval.report.tables import write_files
from eval.run.environment import describe_environment


def summary(trial: Trial) -> list[str]:
    """Return the trial's outcome in sentences."""
    count = len(trial.repeats)
    widths = [(repeat.ratio.high - repeat.ratio.low) / 2 for repeat in trial.repeats if repeat.ratio]
    apart = [abs(repeat.ratio.estimate - 1) for repeat in trial.repeats if repeat.ratio]
    lines = [
        f"{trial.covered} of {count} intervals cover a ratio of 1 (expected: at least {LEAST_COVERED:.0%})",
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


def write_trial(trial: Trial, label: str, dataset: Dataset, config: RunConfig, folder: Path) -> Path:
    """Write aa.md: what was timed where, the outcome, and a row a repeat."""
    environment = describe_environment(torch.device(config.device))
    facts = [
        f"{label} against itself, {len(dataset.pairs)} images of {dataset.name}, preset {config.preset}",
        f"{environment.gpu or environment.cpu}, {config.threads} thread(s), torch {environment.torch}",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {environment.commit}",
    ]
    (path,) = write_files(folder, {"aa.md": markdown("A model against itself", facts, trial)})
    return path
