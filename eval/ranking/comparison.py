"""Two models side by side: how far apart they are in PSNR and in runtime, and what of that is settled."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from eval.errors import RunError
from eval.intervals import LEAST_SAMPLES, Interval, least_kept, paired_difference, paired_ratio
from eval.ranking.from_results_json import ModelResult
from eval.records.conditions import tf32_of
from eval.records.record import Record
from eval.words import counted


@dataclass(frozen=True)
class Side:
    """One model's figures on one set.

    Attributes:
        psnr_db: by image.
        samples_ms: runtimes ``(images, rounds)``, NaN where one was dropped; None if there are none.
        group: samples of one group are paired, image by image and round by round.
        baseline_ratio: the ratio to ``baseline``'s runtime with its interval; None if it was not timed beside one.
        settings: how it ran, as far as a ratio depends on it: engine, precision, TF32, threads.
        images_sha256: of the set's files; None where it is not known.
        timed_part: over how many of the images the runtime is, as in "30 of 100 images"; empty where over all.
        baseline_made_of: the hashes of the baseline's weights and code, and its settings; None without its record.
        inputs_sha256: of the images that were timed.
        is_published: whether its figures are those of a published results.json.
    """

    label: str
    dataset: str
    machine: str
    psnr_db: Mapping[str, float]
    samples_ms: np.ndarray | None = field(default=None, compare=False)
    group: str = ""
    baseline: str = ""
    baseline_ratio: Interval | None = None
    is_baseline: bool = False
    settings: str = ""
    images_sha256: str | None = None
    timed_part: str = ""
    baseline_made_of: tuple[str | None, str, str] | None = None
    inputs_sha256: str = ""
    is_published: bool = False

    @classmethod
    def of_record(cls, record: Record, beside: Iterable[Record] = ()) -> "Side":
        """Return what a record says of its model; the baseline's record is looked for among those ``beside`` it."""
        timing = record.timing
        ratio = timing.ratio if timing else None
        baseline = _baseline_of(record, beside)
        return cls(
            record.model.full_name,
            record.dataset.name,
            record.environment.machine,
            record.psnrs_db,
            np.array(timing.samples_ms, dtype=float) if timing else None,
            timing.group if timing else "",
            ratio.baseline if ratio else "",
            Interval(ratio.estimate, ratio.low, ratio.high) if ratio else None,
            baseline is not None and baseline.timing == timing,
            settings_of(record),
            record.dataset.sha256,
            record.timed_part,
            baseline and (baseline.model.weights_sha256, baseline.model.source_sha256, settings_of(baseline)),
            timing.inputs_sha256 if timing else "",
        )

    @classmethod
    def of_published(cls, name: str, result: ModelResult, role: str, source: str) -> "Side":
        """Return what a published results.json says of a model on the validation or the test images.

        Its runtimes are one an image; images of two such files are paired by their place. ``source`` names the file.
        """
        psnrs = {f"{index:04}": db for index, db in enumerate(result.psnrs(role))}
        samples = np.array(result.runtimes(role), dtype=float)[:, None]
        return cls(name, role, source, psnrs, samples_ms=samples, group=role, is_published=True)


@dataclass(frozen=True)
class Comparison:
    """How ``first`` compares with ``second`` on one set.

    Attributes:
        psnr: first's mean PSNR less second's in dB, paired by image; None if it cannot be compared.
        runtime: first's runtime over second's; None if it cannot be compared.
        notes: why something cannot be compared, and what a figure rests on.
        scope: beyond what the verdict on runtimes does not reach, as words before it; empty for models timed together.
    """

    first: str
    second: str
    dataset: str
    psnr: Interval | None
    runtime: Interval | None
    notes: tuple[str, ...] = ()
    scope: str = ""

    @property
    def figures(self) -> dict[str, float | None]:
        """Difference in dB and ratio of runtimes, each with both ends of its interval; None where not compared."""
        kinds, parts = {"psnr_difference_db": self.psnr, "runtime_ratio": self.runtime}, ("estimate", "low", "high")
        return {
            f"{key}{end}": getattr(interval, part, None)
            for key, interval in kinds.items()
            for end, part in zip(("", "_low", "_high"), parts, strict=True)
        }

    @property
    def sentence(self) -> str:
        """What is settled and what is not, in one sentence."""
        parts = [part for part in (self._psnr_words(), self._runtime_words()) if part]
        if not parts:
            return f"On {self.dataset}, {self.first} and {self.second} cannot be compared."
        return f"On {self.dataset}, {self.first} compared with {self.second}: {'; '.join(parts)}."

    def _psnr_words(self) -> str:
        if self.psnr is None:
            return ""
        estimate, ends = self.psnr.texts(0, "+")
        found = f"{estimate} dB {ends}" if math.isfinite(self.psnr.high) else f"{estimate} dB"
        if self.psnr.covers(0):
            return f"the PSNR difference is not significant ({found})"
        return f"its PSNR is {'higher' if self.psnr.estimate > 0 else 'lower'} ({found})"

    def _runtime_words(self) -> str:
        if self.runtime is None:
            return ""
        estimate, ends = self.runtime.texts(1)
        found = f"runtime ratio {estimate}"
        if not math.isfinite(self.runtime.high):
            return f"the runtimes cannot be told apart ({found}, of too few undisturbed samples)"
        if self.runtime.covers(1):
            return f"{self.scope}the runtimes do not differ significantly ({found} {ends})"
        return f"{self.scope}it is {'faster' if self.runtime.estimate < 1 else 'slower'} ({found} {ends})"


def compare_sides(first: Side, second: Side) -> Comparison:
    """Compare two models on one set, each figure with its 95% interval.

    Raises:
        RunError: they are of different sets.
    """
    if first.dataset != second.dataset:
        raise RunError(f"expected two models on one set, got {first.dataset} and {second.dataset}")
    known = {side.images_sha256 for side in (first, second) if side.images_sha256}
    if len(known) > 1:
        note = f"nothing is compared: the two sets called {first.dataset} differ in names or files"
        return Comparison(first.label, second.label, first.dataset, None, None, (note,))
    psnr, psnr_note = _psnr_difference(first, second)
    runtime, runtime_note = _runtime_ratio(first, second)
    part = f"on {first.dataset} runtimes are of {first.timed_part}" if runtime and first.timed_part else ""
    notes = tuple(filter(None, (psnr_note, runtime_note, part)))
    return Comparison(first.label, second.label, first.dataset, psnr, runtime, notes, _scope(first, second))


def _scope(first: Side, second: Side) -> str:
    """Return within what a verdict on runtimes holds, where that is less than "timed together"."""
    if first.is_published:
        return "in these passes, one a model, "
    if first.group == second.group and first.group:
        return ""
    apart = "each on its own machine" if first.machine != second.machine else "each in its own run"
    return f"relative to {first.baseline}, {apart}, "


def psnr_between(first: Record, second: Record) -> Interval | None:
    """Return the first record's mean PSNR less the second's in dB, paired by image; None if it cannot be compared."""
    if not (first.complete and second.complete):
        return None
    return _psnr_difference(Side.of_record(first), Side.of_record(second))[0]


def _psnr_difference(first: Side, second: Side) -> tuple[Interval | None, str]:
    if not first.psnr_db or not second.psnr_db:
        lacking = " and ".join(side.label for side in (first, second) if not side.psnr_db)
        return None, f"PSNR is not compared: that of {lacking} was not taken"
    if first.psnr_db.keys() != second.psnr_db.keys():
        counts = f"{len(first.psnr_db)} and {len(second.psnr_db)}"
        return None, f"PSNR is not compared: the images are not the same ({counts} of them)"
    pairs = [(first.psnr_db[name], second.psnr_db[name]) for name in first.psnr_db]
    perfect = [pair for pair in pairs if math.inf in pair]
    if any(one != other for one, other in perfect):
        return None, "PSNR is not compared: one of the two reproduces an image exactly, which is infinitely many dB"
    # Of an image that both reproduce exactly, the difference is 0.
    known = np.array([(0.0, 0.0) if math.inf in pair else pair for pair in pairs]).T
    few = f"no difference in PSNR can be settled on {counted(len(pairs), 'image')}: it takes {LEAST_SAMPLES}"
    return paired_difference(known[0][:, None], known[1][:, None]), few * (len(pairs) < LEAST_SAMPLES)


def _runtime_ratio(first: Side, second: Side) -> tuple[Interval | None, str]:
    if first.samples_ms is None and second.samples_ms is None:
        return None, "runtime is not compared: neither was timed by the steady protocol"
    if first.samples_ms is None or second.samples_ms is None:
        lacking = first if first.samples_ms is None else second
        return None, f"runtime is not compared: {lacking.label} was not timed by the steady protocol"
    if first.group and first.group == second.group and first.samples_ms.shape == second.samples_ms.shape:
        note = (
            "runtimes are published ones, one an image, with cold starts in them; how much another pass of the same "
            "network would differ, they do not tell"
        ) * first.is_published
        if first.is_published and first.machine != second.machine:
            note += "; the two files name no GPU: of two GPUs this is their ratio as well"
        if first.settings != second.settings:
            note = f"the two ran otherwise: {first.label} by {first.settings}, {second.label} by {second.settings}"
        kept = int(np.isfinite(first.samples_ms - second.samples_ms).sum())
        least = least_kept(first.samples_ms.shape[1])
        few = f"no runtime ratio can be settled on {counted(kept, 'undisturbed sample')}: it takes {least}"
        notes = (note, few * (kept < least))
        return paired_ratio(first.samples_ms, second.samples_ms), "; ".join(filter(None, notes))
    return _ratio_by_baseline(first, second)


def _ratio_by_baseline(first: Side, second: Side) -> tuple[Interval | None, str]:
    """Return the quotient of the ratios to a baseline that both were timed beside, where it is one and the same."""
    apart = "runtime is not compared: the two models were timed in separate runs"
    if not (first.baseline and first.baseline == second.baseline and first.baseline_ratio and second.baseline_ratio):
        return None, f"{apart}, without a common baseline beside them"
    if first.is_baseline and second.is_baseline:
        return None, f"{apart}, each as its own baseline"
    if first.settings != second.settings:
        return None, f"{apart}, one by {first.settings}, one by {second.settings}"
    if first.inputs_sha256 != second.inputs_sha256:
        return None, f"{apart}, on other images"
    made_of = {first.baseline_made_of, second.baseline_made_of}
    if len(made_of - {None}) > 1:
        return None, f"{apart}, beside {first.baseline} of other weights, code or settings"
    if not all(math.isfinite(its.high) for its in (first.baseline_ratio, second.baseline_ratio)):
        return None, f"{apart}, with too few undisturbed samples"
    where = first.machine if first.machine == second.machine else f"{first.machine}; {second.machine}"
    note = f"runtimes were taken apart, so each is taken as its ratio to {first.baseline}'s ({where})"
    note += ", whose weights and code are not all on record" if None in made_of else ""
    return quotient(first.baseline_ratio, second.baseline_ratio), note


def _baseline_of(record: Record, beside: Iterable[Record]) -> Record | None:
    """Return the record of what a model's ratio is to, timed together with it; None if it is not there."""
    group = record.timing and record.timing.group
    baselines = (its for its in (record, *beside) if its.timing and its.timing.is_baseline)
    return next((its for its in baselines if its.timing and its.timing.group == group), None)


def settings_of(record: Record) -> str:
    """Return how a model was timed, as far as its ratio to another one depends on it besides the machine."""
    settings, environment = record.settings, record.environment
    threads = "" if environment.gpu else counted(environment.threads, "thread")
    return ", ".join(filter(None, (settings.engine, settings.precision, tf32_of(record), threads)))


def quotient(first: Interval, second: Interval) -> Interval:
    """Return the quotient of two independent ratios, their relative spreads added in quadrature."""
    estimate = first.estimate / second.estimate
    below, above = (
        math.hypot(math.log(one / first.estimate), math.log(other / second.estimate))
        for one, other in ((first.low, second.high), (first.high, second.low))
    )
    return Interval(estimate, estimate * math.exp(-below), estimate * math.exp(above))
