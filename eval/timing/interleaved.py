"""The steady protocol: runtimes of several models, measured so that the comparison can be trusted.

Every model is warmed up on every input size until its times settle. Then, round by round, each image is run through
all models one after another, in an order drawn anew each time, so that drift of the machine hits all alike. What was
disturbed is dropped for all models. Rounds go on until the intervals of all ratios to the first model are tight enough.
"""

import hashlib
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from eval.data.datasets import Dataset
from eval.device.nvml import Gpu, open_gpu
from eval.intervals import paired_ratio
from eval.timing.interference import Watch
from eval.timing.samples import Ratio, Timing
from eval.timing.settling import open_pairs
from eval.timing.warmup import Timed, time_one, warm_up

CHECK_EVERY = 2
_DRAWN_ON_THE_WAY = 200
ENERGY_WINDOW_S = 5.0


@dataclass(frozen=True)
class Preset:
    """Limits of a measurement.

    Attributes:
        images: at most so many of a set's images are timed, evenly spread.
        rounds: least and largest number of rounds.
        budget_s: time for the rounds, per model.
        half_width: of the interval of a ratio, as a part of the ratio, up to which it is tight enough.
        settle: instead of tight ratios, and of the largest number of rounds: so many first places must be settled.
    """

    name: str
    images: int
    rounds: tuple[int, int]
    budget_s: float
    half_width: float
    settle: int | None = None


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("rapid", images=12, rounds=(8, 16), budget_s=30, half_width=0.02),
        Preset("quick", images=30, rounds=(8, 40), budget_s=120, half_width=0.01),
        Preset("normal", images=100, rounds=(10, 100), budget_s=600, half_width=0.005),
    )
}


@dataclass
class _Rounds:
    """Samples so far, ``[model][round]`` a list over images; NaN where dropped."""

    samples_ms: list[list[list[float]]]
    dropped: Counter = field(default_factory=Counter)
    stopped_by: str = "rounds"


def measure_together(
    upscalers: Sequence[Timed],
    dataset: Dataset,
    preset: Preset,
    seed: int = 0,
    on_round: Callable[[int], None] = lambda _count: None,
) -> list[Timing]:
    """Time several models on the images of a set; the first one is the baseline of the stopping rule.

    Args:
        upscalers: the models, on their device.
        dataset: a checked set.
        preset: limits.
        seed: of the order in which models run.
        on_round: called after each round with the number of rounds done.

    Returns:
        One timing a model, all of one group.

    Raises:
        TimingError: one of the models failed; the others can be timed without it.
    """
    pairs = [dataset.pairs[index] for index in spread(len(dataset.pairs), preset.images)]
    inputs = [pair.read()[0] for pair in pairs]
    warmths = [warm_up(upscalers, index, inputs) for index in range(len(upscalers))]
    rounds = _run_rounds(upscalers, inputs, preset, np.random.default_rng(seed), on_round)
    common = {
        "group": uuid.uuid4().hex,
        "preset": preset.name,
        "seed": seed,
        "image_names": tuple(pair.name for pair in pairs),
        "inputs_sha256": _digest([pair.name for pair in pairs], inputs),
        "dropped": dict(rounds.dropped),
        "stopped_by": rounds.stopped_by,
    }
    samples = [np.array(of_model).T for of_model in rounds.samples_ms]
    gpu = open_gpu(upscalers[0].device)
    return [
        Timing(
            samples_ms=_stored(samples[index]),
            **_summary(samples[index], samples[0], upscalers[0].label),
            cold_start_ms=warmth.cold_start_ms,
            warmup_ms=warmth.total_ms,
            warmup_runs=warmth.runs,
            energy_mj=gpu and _energy_mj(upscalers, index, inputs, gpu),
            **common,
        )
        for index, warmth in enumerate(warmths)
    ]


def preset_of(name: str, settle: int | None) -> Preset:
    """Return a preset by its name, with so many first places to settle."""
    return replace(PRESETS[name], settle=settle)


def spread(available: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` indices below ``available``, evenly spread, ends included."""
    count = min(available, wanted)
    return [round(i * (available - 1) / max(count - 1, 1)) for i in range(count)]


def _run_rounds(
    upscalers: Sequence[Timed],
    inputs: Sequence[np.ndarray],
    preset: Preset,
    random: np.random.Generator,
    on_round: Callable[[int], None],
) -> _Rounds:
    rounds = _Rounds([[] for _ in upscalers])
    least, most = preset.rounds
    deadline = time.monotonic() + preset.budget_s * len(upscalers)
    with Watch(upscalers[0].device, upscalers) as watch:
        for count in range(1, most + 1) if preset.settle is None else itertools.count(1):
            block = np.full((len(upscalers), len(inputs)), np.nan)
            for image in random.permutation(len(inputs)):
                block[:, image] = _run_image(upscalers, inputs[image], random, watch, rounds.dropped)
            for samples, row in zip(rounds.samples_ms, block, strict=True):
                samples.append(row.tolist())
            on_round(count)
            if count >= least and time.monotonic() > deadline:
                rounds.stopped_by = "budget"
                break
            if count >= least and count % CHECK_EVERY == 0 and _is_enough(rounds.samples_ms, preset):
                rounds.stopped_by = "interval" if preset.settle is None else "settled"
                break
        rounds.dropped = Counter({watch.described(reason): count for reason, count in rounds.dropped.items()})
    return rounds


def _run_image(
    upscalers: Sequence[Timed], lr: np.ndarray, random: np.random.Generator, watch: Watch, dropped: Counter
) -> np.ndarray:
    """Run one image through all models in random order; all NaN if something disturbed it."""
    times = np.empty(len(upscalers))
    watch.begin()
    for index in random.permutation(len(upscalers)):
        times[index] = time_one(upscalers, index, lr)
    reason = watch.disturbance()
    if reason is None:
        return times
    dropped[reason] += 1
    return np.full(len(upscalers), np.nan)


def _is_enough(samples_ms: Sequence[Sequence[Sequence[float]]], preset: Preset) -> bool:
    """Tell whether what a preset asks for is known."""
    if preset.settle is None:
        return _tight(samples_ms, preset.half_width)
    return not open_pairs(np.array(samples_ms).transpose(0, 2, 1), preset.settle, resamples=_DRAWN_ON_THE_WAY)


def _tight(samples_ms: Sequence[Sequence[Sequence[float]]], half_width: float) -> bool:
    """Tell whether every ratio to the first model is known well enough; with one model there is none to know."""
    baseline, *others = (np.array(samples).T for samples in samples_ms)
    if not others or np.isnan(baseline).all():
        return False
    return all(
        paired_ratio(model, baseline, resamples=_DRAWN_ON_THE_WAY).relative_half_width <= half_width for model in others
    )


def _summary(samples_ms: np.ndarray, baseline_ms: np.ndarray, baseline: str) -> dict:
    """Return quantiles of a model's ``(images, rounds)`` samples, and its ratio to the baseline."""
    kept = samples_ms[~np.isnan(samples_ms)]
    if not kept.size:
        return {"p50_ms": None, "p90_ms": None, "ratio": None}
    p50_ms, p90_ms = np.quantile(kept, (0.5, 0.9)).tolist()
    interval = paired_ratio(samples_ms, baseline_ms)
    ratio = Ratio(baseline=baseline, estimate=interval.estimate, low=interval.low, high=interval.high)
    return {"p50_ms": p50_ms, "p90_ms": p90_ms, "ratio": ratio}


def _stored(samples_ms: np.ndarray) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(None if np.isnan(ms) else ms for ms in row) for row in samples_ms.tolist())


def _energy_mj(upscalers: Sequence[Timed], index: int, inputs: Sequence[np.ndarray], gpu: Gpu) -> float | None:
    """Return the energy an image takes, over a stretch long enough for a counter that moves every 0.1 s."""
    start_mj, start_s, images = gpu.energy_mj(), time.monotonic(), 0
    if start_mj is None:
        return None
    while time.monotonic() - start_s < ENERGY_WINDOW_S:
        for lr in inputs:
            time_one(upscalers, index, lr)
        images += len(inputs)
    end_mj = gpu.energy_mj()
    return None if end_mj is None else (end_mj - start_mj) / images


def _digest(names: Sequence[str], inputs: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, lr in zip(names, inputs, strict=True):
        digest.update(f"{name} {lr.shape}".encode())
        digest.update(np.ascontiguousarray(lr).tobytes())
    return digest.hexdigest()
