"""The steady protocol: runtimes of several models, measured so that the comparison can be trusted.

Every model is warmed up on every input size until its times settle. Then, round by round, each image is run through
all models one after another, in an order drawn anew each time, so that drift of the machine hits all alike. Each time
it has another form, so that nothing can be looked up. What was disturbed is dropped for all models. Rounds go on until
the intervals of all ratios to the first model are tight enough.
"""

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval.data.datasets import Dataset
from eval.errors import RunError
from eval.intervals import RESAMPLES, Interval, open_pairs, paired_ratio
from eval.metrics.figures import Flag
from eval.timing.gpu_figures import energy_mj, kernels_ms
from eval.timing.interference import Watch
from eval.timing.outputs import Fresh, Outputs, fresh
from eval.timing.presets import Preset, spread
from eval.timing.samples import Ratio, Timing
from eval.timing.warmup import Timed, TimingError, Warmth, run_one, warm_up

CHECK_EVERY = 2
_DRAWN_ON_THE_WAY = 200
# Devices that add in another order each time are off by one grey level.
_SAME_LEVELS = 2
# A first run is slower than later ones, not faster by this part of their least time.
_COLD_SHARE = 0.5
# So many irregular samples of a model, and so large a part of its samples, are no accident.
_IRREGULAR_COUNT, _IRREGULAR_SHARE = 8, 0.25


@dataclass
class _Rounds:
    """Samples so far, ``[model][round]`` a list over images; NaN where dropped.

    Attributes:
        random: draws the forms of inputs.
        irregular: how often a model, by its place, did what it must not.
        turns: how often each model was timed.
    """

    samples_ms: list[list[list[float]]]
    outputs: Outputs
    random: np.random.Generator
    dropped: Counter = field(default_factory=Counter)
    irregular: Counter = field(default_factory=Counter)
    turns: int = 0
    stopped_by: str = "rounds"
    unwatched: tuple[str, ...] = ()


def measure_together(
    upscalers: Sequence[Timed],
    dataset: Dataset,
    preset: Preset,
    seed: int = 0,
    on_round: Callable[[int], None] = lambda _count: None,
) -> list[Timing]:
    """Time models, which are on their device, on the images of a set; return one timing each, all of one group.

    The first one is the baseline of the stopping rule. The order in which they run is drawn from ``seed``; ``on_round``
    is called after each round with the number of rounds done.

    Raises:
        TimingError: one of the models failed; the others can be timed without it.
    """
    pairs = [dataset.pairs[index] for index in spread(len(dataset.pairs), preset.images)]
    inputs = [pair.read()[0] for pair in pairs]
    warmths = [warm_up(upscalers, index, inputs) for index in range(len(upscalers))]
    # Who knows the seed knows the inputs, but not which outputs are judged.
    outputs = Outputs(pairs, np.random.default_rng())
    rounds = _Rounds([[] for _ in upscalers], outputs, np.random.default_rng((seed, 1)))
    _run_rounds(rounds, (upscalers, inputs), preset, np.random.default_rng(seed), on_round)
    common = {
        "group": uuid.uuid4().hex,
        "preset": preset.name,
        "seed": seed,
        "image_names": tuple(pair.name for pair in pairs),
        "inputs_sha256": _digest([pair.name for pair in pairs], inputs),
        "dropped": dict(rounds.dropped),
        "stopped_by": rounds.stopped_by,
        "unwatched": rounds.unwatched,
    }
    samples = [np.array(of_model).T for of_model in rounds.samples_ms]
    return [
        Timing(
            samples_ms=_stored(samples[index]),
            **_summary(samples[index], samples[0], upscalers[0].label),
            cold_start_ms=warmth.cold_start_ms,
            warmup_ms=warmth.total_ms,
            warmup_runs=warmth.runs,
            energy_mj=energy_mj(upscalers, index, inputs),
            kernels_ms=kernels_ms(upscalers, index, inputs),
            psnr_db=rounds.outputs.psnr_db(index),
            flags=tuple(_flags(rounds, index, warmth)),
            **common,
        )
        for index, warmth in enumerate(warmths)
    ]


def _run_rounds(
    rounds: _Rounds,
    models: tuple[Sequence[Timed], Sequence[np.ndarray]],
    preset: Preset,
    random: np.random.Generator,
    on_round: Callable[[int], None],
) -> None:
    """Run rounds until one of the limits is met; ``models`` are these and their inputs."""
    upscalers, inputs = models
    least, _ = preset.rounds
    deadline = time.monotonic() + preset.budget_s * len(upscalers)
    with Watch(upscalers[0].device, upscalers) as watch:
        rounds.unwatched = watch.unwatched
        for count in range(1, 1 + preset.most_rounds):
            block = np.full((len(upscalers), len(inputs)), np.nan)
            judged = rounds.outputs.judged_image()
            for image in random.permutation(len(inputs)):
                form = fresh(inputs[image], rounds.random)
                times, outputs = _run_image(upscalers, form, random, watch, rounds)
                block[:, image] = times
                rounds.outputs.note(image, outputs)
                if image == judged:
                    rounds.outputs.judge(image, outputs)
            for samples, row in zip(rounds.samples_ms, block, strict=True):
                samples.append(row.tolist())
            on_round(count)
            if count >= least and time.monotonic() > deadline:
                rounds.stopped_by = "budget"
                break
            is_look = count % CHECK_EVERY == 0 if preset.settle is None else count in preset.looks
            if count >= least and is_look and _is_enough(rounds.samples_ms, preset):
                rounds.stopped_by = "interval" if preset.settle is None else "settled"
                break
        rounds.dropped = Counter({watch.described(reason): count for reason, count in rounds.dropped.items()})


def _run_image(
    upscalers: Sequence[Timed], form: Fresh, random: np.random.Generator, watch: Watch, rounds: _Rounds
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Run one input through all models in random order; return times, all NaN if something disturbed it, and outputs.

    Raises:
        TimingError: a model failed, or does too often what makes its times none.
    """
    times, outputs = np.empty(len(upscalers)), [form.lr] * len(upscalers)
    reasons = []
    watch.begin()
    rounds.turns += 1
    for index in random.permutation(len(upscalers)):
        sr, times[index] = run_one(upscalers, index, form.lr)
        outputs[index] = form.upright(sr)
        if irregular := upscalers[index].irregular:
            reasons.append(f"{upscalers[index].label}, which {irregular}")
            rounds.irregular[index] += 1
            if rounds.irregular[index] > max(_IRREGULAR_COUNT, _IRREGULAR_SHARE * rounds.turns):
                often = f"{irregular}, {rounds.irregular[index]} of {rounds.turns} times"
                raise TimingError(index, RunError(f"{often}: its runtimes are not valid"))
    reasons += filter(None, [watch.disturbance()])
    rounds.dropped.update(reasons[:1])
    return (np.full(len(upscalers), np.nan) if reasons else times), outputs


def _flags(rounds: _Rounds, index: int, warmth: Warmth) -> Iterator[Flag]:
    """Yield what a model's times do not show."""
    yield from rounds.outputs.flags(index)
    if warmth.changes > _SAME_LEVELS:
        text = f"returns another output for the same input, by up to {warmth.changes} grey levels"
        yield Flag(code="timed", text=text)
    warm_ms = [ms for samples in rounds.samples_ms[index] if not np.isnan(ms := samples[0])]
    if warm_ms and min(warm_ms) * _COLD_SHARE > warmth.cold_start_ms:
        text = f"its first run took {warmth.cold_start_ms:.1f} ms, all later ones {min(warm_ms):.1f} ms and more"
        yield Flag(code="timed", text=f"{text}, for the same image")
    if rounds.irregular[index]:
        text = f"{rounds.irregular[index]} of {rounds.turns} samples were irregular and dropped"
        yield Flag(code="turn", text=f"uses processors or time that are not its own: {text}")


def _is_enough(samples_ms: Sequence[Sequence[Sequence[float]]], preset: Preset) -> bool:
    """Tell whether what a preset asks for is known."""
    # Few draws tell when to look; what is then reported is drawn in full, so that is what must be enough.
    return all(_is_enough_by(resamples, samples_ms, preset) for resamples in (_DRAWN_ON_THE_WAY, RESAMPLES))


def _is_enough_by(resamples: int, samples_ms: Sequence[Sequence[Sequence[float]]], preset: Preset) -> bool:
    if preset.settle is None:
        return _tight(samples_ms, preset.half_width, resamples)
    return not open_pairs(np.array(samples_ms).transpose(0, 2, 1), preset.settle, resamples=resamples)


def _tight(samples_ms: Sequence[Sequence[Sequence[float]]], half_width: float, resamples: int) -> bool:
    """Tell whether every ratio to the first model is known well enough; with one model there is none to know."""
    baseline, *others = (np.array(samples).T for samples in samples_ms)
    if not others or np.isnan(baseline).all():
        return False
    return all(paired_ratio(model, baseline, resamples=resamples).relative_half_width <= half_width for model in others)


def _summary(samples_ms: np.ndarray, baseline_ms: np.ndarray, baseline: str) -> dict:
    """Return quantiles of a model's ``(images, rounds)`` samples, and its ratio to the baseline."""
    kept = samples_ms[~np.isnan(samples_ms)]
    if not kept.size:
        return {"p50_ms": None, "p90_ms": None, "ratio": None}
    p50_ms, p90_ms = np.quantile(kept, (0.5, 0.9)).tolist()
    # The baseline's to itself is known however few samples there are.
    itself = samples_ms is baseline_ms
    interval = Interval(1.0, 1.0, 1.0) if itself else paired_ratio(samples_ms, baseline_ms)
    ratio = Ratio(baseline=baseline, estimate=interval.estimate, low=interval.low, high=interval.high)
    return {"p50_ms": p50_ms, "p90_ms": p90_ms, "ratio": ratio}


def _stored(samples_ms: np.ndarray) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(None if np.isnan(ms) else ms for ms in row) for row in samples_ms.tolist())


def _digest(names: Sequence[str], inputs: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, lr in zip(names, inputs, strict=True):
        digest.update(f"{name} {lr.shape}".encode())
        digest.update(np.ascontiguousarray(lr).tobytes())
    return digest.hexdigest()
