"""What the steady protocol measures: samples, and their ratio to the baseline's. Plain data, without torch."""

from collections.abc import Mapping
from statistics import median
from typing import Literal

from eval.frozen import Frozen
from eval.metrics.figures import Flag


class Ratio(Frozen):
    """How many times a model's runtime is the baseline's, with its 95% interval."""

    baseline: str
    estimate: float
    low: float
    high: float


class Timing(Frozen):
    """The speed pass of the steady protocol.

    Attributes:
        group: shared by the models that were timed together, image by image and round by round; only these are paired.
        preset: which limits on rounds, images and time were used.
        seed: of the order in which models ran.
        image_names: the images that were timed.
        inputs_sha256: of their names, sizes and pixels.
        samples_ms: one row an image, one column a round; None where a sample was dropped.
        dropped: how many were, by reason: "make on the CPU (pid 71, 60% of a core)"; older records name no process.
        cold_start_ms: the first forward pass of all, which no other figure holds.
        warmup_ms: time spent warming up, with ``warmup_runs`` forward passes.
        p50_ms, p90_ms: over all kept samples; None if every one was dropped.
        ratio: to the first model of the group; None if no sample was kept.
        stopped_by: "interval" (tight enough), "settled" (the places that were asked for are), "rounds" or "budget".
        energy_mj: per image, indicative; None where it cannot be read.
        kernels_ms: what a GPU itself works on an image, mean over images of the median over runs, all kernels queued
            before the first one begins; what the samples have above it is the CPU starting them. None elsewhere.
        psnr_db: of what it returned in the rounds, on the mean of each image that was judged; empty in older records.
        flags: what its times do not show.
        unwatched: what a GPU did not tell, its processes or its clock, so that nothing was dropped for it; empty in
            older records.
    """

    group: str
    preset: str
    seed: int
    image_names: tuple[str, ...]
    inputs_sha256: str
    samples_ms: tuple[tuple[float | None, ...], ...]
    dropped: dict[str, int]
    cold_start_ms: float
    warmup_ms: float
    warmup_runs: int
    p50_ms: float | None
    p90_ms: float | None
    ratio: Ratio | None
    stopped_by: Literal["interval", "settled", "rounds", "budget"]
    energy_mj: float | None = None
    kernels_ms: float | None = None
    psnr_db: dict[str, float] = {}
    flags: tuple[Flag, ...] = ()
    unwatched: tuple[str, ...] = ()

    @property
    def is_baseline(self) -> bool:
        """Tell whether the ratios of its group are to it: its own is exactly 1."""
        return self.ratio is not None and self.ratio.low == self.ratio.high == 1

    def medians_ms(self) -> dict[str, float]:
        """Return each image's median over rounds, by name; without the images that lost every sample."""
        kept = (
            (name, [ms for ms in samples if ms is not None])
            for name, samples in zip(self.image_names, self.samples_ms, strict=True)
        )
        return {name: median(samples) for name, samples in kept if samples}


def what_disturbed(dropped: Mapping[str, int]) -> str:
    """Return a list of reasons with how many samples each disturbed, the most frequent first."""
    ordered = sorted(dropped.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} by {reason}" for reason, count in ordered)
