"""A published results.json, as the challenge's ``test_demo.py`` writes it: read strictly, or refused with a reason."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from eval.errors import RunError, UsageError, explain
from eval.files import why_no_file
from eval.json_files import NoJsonError, json_of
from eval.ranking.editions import Edition
from eval.ranking.entries import Entry, Measured
from eval.words import first_of

SHOWN_FAULTS, _SHOWN_CHARACTERS = 10, 400
OFFICIAL = "official"
_NOTHING_OF_SPREAD = (
    "A published file holds one time an image and names no device: nothing is known of the spread of times, so ranks "
    "have no intervals"
)
# No figure of the challenge comes near it; sums and products of such figures stay finite.
_MOST = 1e12


def _no_nan(given: Any) -> Any:
    if isinstance(given, float) and math.isnan(given):
        raise ValueError("NaN is no figure")
    return given


def _known_psnr(psnr_db: float) -> float:
    if _MOST < psnr_db < math.inf:
        raise ValueError(f"Input should be less than or equal to {_MOST:g}, or Infinity for identical images")
    return psnr_db


_Figure = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False, strict=True), BeforeValidator(_no_nan)]
# That of identical images is infinite.
_Psnr = Annotated[float, Field(ge=0, strict=True), BeforeValidator(_no_nan), AfterValidator(_known_psnr)]
_Time = Annotated[float, Field(gt=0, le=_MOST, allow_inf_nan=False, strict=True), BeforeValidator(_no_nan)]


class ModelResult(BaseModel):
    """One model of a results.json: times in ms, PSNR in dB, memory in MiB, complexity in M, G, M."""

    model_config = ConfigDict(frozen=True, extra="allow")

    valid_runtime: tuple[_Time, ...] = Field(min_length=1)
    valid_psnr: tuple[_Psnr, ...] = Field(min_length=1)
    valid_memory: _Figure
    valid_ave_runtime: _Time
    valid_ave_psnr: _Psnr
    test_runtime: tuple[_Time, ...] = ()
    test_psnr: Annotated[tuple[_Psnr, ...], BeforeValidator(lambda given: given or ())] = ()
    test_memory: _Figure | None = None
    test_ave_runtime: _Time | None = None
    test_ave_psnr: _Psnr | None = None
    num_parameters: _Figure
    flops: _Figure
    activations: _Figure
    num_conv: Annotated[int, Field(ge=0, strict=True)]

    @model_validator(mode="after")
    def _is_whole(self) -> "ModelResult":
        for role in ("valid", "test"):
            times, psnrs = len(self.runtimes(role)), len(self.psnrs(role))
            # The organisers' hidden HR images are not at hand: a test phase may have times alone.
            if times != psnrs and not (role == "test" and not psnrs):
                told = f"{role}_runtime has {times} values and {role}_psnr {psnrs}"
                raise ValueError(f"{told}; expected one each an image")
        pairs = ((self.test_runtime, self.test_ave_runtime), (self.test_psnr, self.test_ave_psnr))
        if any(bool(values) != bool(stated) for values, stated in pairs) or (self.test_psnr and not self.has_test):
            raise ValueError("of test_runtime, test_psnr, test_ave_runtime and test_ave_psnr, give all or none")
        return self

    @property
    def has_test(self) -> bool:
        """Tell whether the test set was run."""
        return bool(self.test_runtime)

    @property
    def roles(self) -> tuple[str, ...]:
        """Which sets were run."""
        return ("valid", "test") if self.has_test else ("valid",)

    @property
    def psnr_roles(self) -> tuple[str, ...]:
        """On which sets PSNR was taken."""
        return tuple(role for role in self.roles if self.psnrs(role))

    def runtimes(self, role: str) -> tuple[float, ...]:
        """Return the time of each image, in ms."""
        return getattr(self, f"{role}_runtime")

    def psnrs(self, role: str) -> tuple[float, ...]:
        """Return the PSNR of each image, in dB."""
        return getattr(self, f"{role}_psnr")

    def mean_ms(self, role: str) -> float:
        """Return the mean time, in ms."""
        return fmean(self.runtimes(role))

    def warm_ms(self, role: str, dropped: int) -> float | None:
        """Return the mean time without the first images, in ms; None if nothing is left."""
        kept = self.runtimes(role)[dropped:]
        return fmean(kept) if kept else None

    def mean_db(self, role: str) -> float:
        """Return the mean of the images' PSNR, in dB; infinite if an image is identical."""
        return fmean(self.psnrs(role))

    def average_ms(self, roles: Sequence[str]) -> float:
        """Return the mean over sets of their mean times, in ms."""
        return sum(map(self.mean_ms, roles)) / len(roles)

    def warm_average_ms(self, roles: Sequence[str], dropped: int) -> float | None:
        """Return the same without the first images of each set; None if nothing is left of one."""
        means = [ms for role in roles if (ms := self.warm_ms(role, dropped)) is not None]
        return sum(means) / len(means) if len(means) == len(roles) else None


Results = Mapping[str, ModelResult]


def common_roles(results: Results) -> tuple[str, ...]:
    """Return the sets that every model ran on: valid, and test if none lacks it."""
    return ("valid", "test") if all(result.has_test for result in results.values()) else ("valid",)


def other_sizes(results: Results, edition: Edition) -> dict[str, tuple[int, int]]:
    """Return by set how many images there are, and how many the edition's set has, where these are two numbers."""
    counts = [(gate, max(len(its.runtimes(gate.role)) for its in results.values())) for gate in edition.gates]
    return {gate.role: (count, gate.images) for gate, count in counts if count not in (0, gate.images)}


def is_beyond(sizes: Mapping[str, tuple[int, int]]) -> bool:
    """Tell whether there are more images than the edition's set has, so that they are not that set."""
    return any(count > expected for count, expected in sizes.values())


def size_words(role: str, sizes: tuple[int, int], edition: Edition) -> str:
    """Return a sentence on a set of another size than the edition's, without its full stop."""
    count, expected = sizes
    if count < expected:
        part = f"{count} image{'s' * (count > 1)} on {role}, of {expected} in the set of {edition.year}"
        return f"{part}: no gate is applied to a part of a set"
    more = f"{count} images on {role}, {count - expected} more than the set of {edition.year} has ({expected})"
    return f"{more}: another set, or images counted twice"


def measured_from(results: Results) -> Measured:
    """Return a published file's models as what is ranked, by their mean runtime on the sets that all of them ran on."""
    roles = common_roles(results)
    entries = tuple(
        Entry(
            name,
            runtime_ms=result.average_ms(roles),
            # A count of 0 is none, as in records.
            flops=result.flops * 1e9 or None,
            num_params=result.num_parameters * 1e6 or None,
            activations=result.activations * 1e6 or None,
            peak_memory_mib=result.valid_memory or None,
            psnr_db={role: result.mean_db(role) for role in result.psnr_roles},
            psnr_images={role: len(result.psnrs(role)) for role in result.psnr_roles},
        )
        for name, result in results.items()
    )
    why = _NOTHING_OF_SPREAD
    return Measured(entries, roles, roles, OFFICIAL, "", (why,), published=True, unpaired=why)


def is_published(path: Path) -> bool:
    """Tell whether a file is JSON of another form than a record's, as a results.json is.

    Raises:
        RunError: it is no JSON, so that it is neither.
    """
    if not path.is_file():
        return False
    content = _content_of(path, "a record, or the JSON that the challenge's test_demo.py writes")
    return not (isinstance(content, dict) and "schema_version" in content)


def _content_of(path: Path, expected: str, **hooks: Any) -> Any:
    try:
        return json_of(path.read_bytes(), **hooks)
    except NoJsonError as error:
        raise RunError(f"{path}: expected {expected}; {error}") from error


def read_results(path: Path) -> dict[str, ModelResult]:
    """Read a results.json, models by name in its order.

    Raises:
        UsageError: there is no such file.
        RunError: it is no JSON, names a model or key twice, lacks a key, or has a value that cannot be; all are listed.
    """
    if reason := why_no_file(path):
        raise UsageError(f"{path}: {reason}; expected the results.json that the challenge's test_demo.py writes")
    written = "the JSON that the challenge's test_demo.py writes"
    content = _content_of(path, written, object_pairs_hook=_unique)
    if not isinstance(content, dict) or not content:
        got = "an empty object" if content == {} else f"a {type(content).__name__}"
        raise RunError(f"{path}: expected an object of at least one model, got {got}")
    if {"findings", "neighbours", "models"} <= content.keys():
        raise RunError(f"{path}: is an audit that this program wrote, of {content.get('source')}: give that file")
    if "schema_version" in content:
        raise RunError(f"{path}: is a record of this program: `eval report` and `eval score` read it")
    results: dict[str, ModelResult] = {}
    faults = []
    for name, fields in content.items():
        try:
            results[name] = ModelResult.model_validate(fields)
        except ValidationError as error:
            said = explain(error)
            faults.append(f"{name!r}: {said[:_SHOWN_CHARACTERS]}{' ...' * (len(said) > _SHOWN_CHARACTERS)}")
    faults += _differing_lengths(results)
    if faults:
        more = [f"and {len(faults) - SHOWN_FAULTS} more"] if len(faults) > SHOWN_FAULTS else []
        listing = "\n".join(f"  {fault}" for fault in [*faults[:SHOWN_FAULTS], *more])
        raise RunError(f"{path}: cannot be read; mend or remove these models:\n{listing}")
    return results


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"every name must be unique, repeated: {first_of(list(map(repr, repeated)), SHOWN_FAULTS)}")
    return dict(pairs)


def _differing_lengths(results: Results) -> list[str]:
    """Return a fault for each model with another number of images than most have: they could not be paired."""
    faults = []
    for role in ("valid", "test"):
        counts = {name: len(times) for name, its in results.items() if (times := its.runtimes(role))}
        # Of two that are as frequent, that of the earlier model.
        for usual, frequency in Counter(counts.values()).most_common(1):
            first = next(name for name, count in counts.items() if count == usual)
            told = f"that of {first!r} has {usual}, as {frequency} of {len(counts)} have"
            faults += [
                f"{n!r}: {role}_runtime has {count} values, {told}" for n, count in counts.items() if count != usual
            ]
    return faults
