"""What is ranked: unrounded figures of models that were measured alike; the baseline's, measured or published."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval.errors import RunError
from eval.ranking.baselines import is_of_the_zoo, unmarked, unnumbered
from eval.ranking.editions import Edition, Track


@dataclass(frozen=True)
class Entry:
    """One model's unrounded figures; None where one was not taken.

    Attributes:
        runtime_ms: mean over images; with valid and test, the mean of the two.
        flops: multiply-adds of one 256x256 input.
        psnr_db: by "valid" and "test", or by a set's name where the set is not the challenge's.
        psnr_images: over how many images each of these is, where that may be another number than the set has.
        device: on which the runtime was taken.
        weights: the name of weights that are not those that the authors released; empty for released ones.
        samples_ms: one ``(images, rounds)`` array a set, paired with all other entries'; None if there are none.
    """

    label: str
    runtime_ms: float | None
    flops: float | None
    num_params: float | None
    activations: float | None = None
    peak_memory_mib: float | None = None
    psnr_db: Mapping[str, float] = field(default_factory=dict)
    psnr_images: Mapping[str, int] = field(default_factory=dict)
    device: str = ""
    weights: str = ""
    samples_ms: tuple[np.ndarray, ...] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Measured:
    """Entries that were measured alike.

    Attributes:
        sets: names of the sets, valid before test.
        roles: which parts of the challenge's images these are; empty if they are not.
        device: empty where a published file does not tell it.
        published: whether the figures are a published file's.
        parts: by set, over how many of its images times are, as in "30 of 100 images"; without those that are over all.
        unpaired: why runtimes do not tell how far ranks are settled, one of the notes; empty where they do.
    """

    entries: tuple[Entry, ...]
    sets: tuple[str, ...]
    roles: tuple[str, ...]
    protocol: str
    device: str
    notes: tuple[str, ...] = ()
    published: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)
    unpaired: str = ""


def published_baseline(edition: Edition, roles: Sequence[str] = ()) -> Entry:
    """Return the baseline's published figures; its runtime on one role alone where that is what was measured."""
    figures = edition.baseline
    runtimes = {"valid": figures.runtime_valid_ms, "test": figures.runtime_test_ms}
    alone = runtimes.get(roles[0]) if len(roles) == 1 else None
    costs = {key: getattr(figures, key) for key in ("flops", "num_params", "activations", "peak_memory_mib")}
    return Entry(f"{figures.model} (published)", alone or figures.runtime_ms, **costs, device=edition.gpu)


def measured_baseline(measured: Measured, edition: Edition) -> Entry:
    """Return the entry of the edition's baseline.

    Raises:
        RunError: it was not measured, or there are two versions of it; the message says what to do.
    """
    model = edition.baseline.model
    called = edition.baseline.among(entry.label for entry in measured.entries)
    found = next((entry for entry in measured.entries if entry.label in called), None)
    versions = [label for label in called if found and unmarked(label) == unmarked(found.label)]
    if len(versions) > 1:
        raise RunError(
            f"--baseline measured: expected one record of {model}, the baseline of {edition.year}, got "
            f"{' and '.join(versions)}: move the records of all but one out of the folder (their weights_sha256 tells "
            "them apart), or rank by `score --baseline published`"
        )
    if found:
        return found
    if measured.published:
        raise RunError(
            f"--baseline measured: {model}, the baseline of {edition.year}, is not in it; give --baseline published"
        )
    raise RunError(
        f"--baseline measured: expected a record of {model}, the baseline of {edition.year}, beside those of "
        f"{', '.join(entry.label for entry in measured.entries)}; measure them together: "
        f"{_how_to_measure(measured, model)}; or rank by `score --baseline published`"
    )


def _how_to_measure(measured: Measured, baseline: str) -> str:
    """Return the command that runs the baseline beside the others; those not of the zoo are named by other flags."""
    labels = [entry.label for entry in measured.entries]
    if not all(map(is_of_the_zoo, labels)):
        return f"add --reference {baseline} to the command that ran them"
    names = ",".join(dict.fromkeys([baseline, *map(unnumbered, labels)]))
    command = ["python", "-m", "eval", "run", "--models", names, "--datasets", ",".join(measured.sets)]
    return shlex.join([*command, "--protocol", measured.protocol])


def relative_score(figure: float, baseline: float) -> float:
    """Return exp(2 figure / baseline), e² = 7.3891 at the baseline; ``inf`` where that exceeds a float."""
    try:
        return math.exp(2 * figure / baseline)
    except OverflowError:
        return math.inf


def weighted_score(track: Track, entry: Entry, reference: Entry, runtime_ratio: float | None = None) -> float:
    """Return a track's total of scores, at the entry's runtime or at another ratio to the baseline's."""
    total = 0.0
    for metric, weight in track.weights.items():
        if metric == "runtime_ms" and runtime_ratio is not None:
            total += weight * relative_score(runtime_ratio, 1)
        else:
            total += weight * relative_score(getattr(entry, metric), getattr(reference, metric))
    return total
