"""The challenge's editions: ``editions.toml`` as frozen, checked rules. Adding an edition is one table there."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator, model_validator

from eval.errors import RunError, UsageError
from eval.files import why_no_file
from eval.frozen import Frozen
from eval.ranking.baselines import Published
from eval.ranking.gates import Gate, PositiveFloat, PositiveInt, Role, Verdict
from eval.toml_files import read_toml

NEWEST = "newest"
EDITIONS = Path(__file__).with_name("editions.toml")
Metric = Literal["runtime_ms", "flops", "num_params", "activations", "peak_memory_mib"]


class Track(Frozen):
    """One ranking: by a weighted sum of scores, or by a sum of ranks. ``not_worse`` are the figures to keep up."""

    name: str
    weights: dict[Metric, PositiveFloat] = {}
    ranks: tuple[Metric, ...] = ()
    not_worse: tuple[Metric, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the ranking is made of."""
        return self.ranks or tuple(self.weights)

    @property
    def has_intervals(self) -> bool:
        """Tell whether intervals of runtimes tell how far its ranks are settled; a sum of ranks has none."""
        return "runtime_ms" in self.weights or self.ranks == ("runtime_ms",)

    @model_validator(mode="after")
    def _has_one_rule(self) -> "Track":
        if bool(self.weights) == bool(self.ranks):
            raise ValueError(f"track {self.name}: give either weights or ranks")
        if self.weights and not math.isclose(sum(self.weights.values()), 1):
            raise ValueError(f"track {self.name}: weights must add up to 1")
        return self


def _refuse_repeated(what: str, names: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"every {what} must be unique, given more than once: {', '.join(map(repr, repeated))}")


class Edition(Frozen):
    """One year's rules; ``editions.toml`` explains each key."""

    year: PositiveInt
    source: str
    gpu: str
    unknown: str | None = None
    baseline: Published
    gates: tuple[Gate, ...] = ()
    tracks: tuple[Track, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _says_nothing_of_ties(cls, given: Any) -> Any:
        """Tell what became of a key that `new-edition` used to write."""
        if isinstance(given, dict) and "ties" in given:
            raise ValueError("the key ties was dropped, and nothing replaces it: delete its line")
        return given

    @model_validator(mode="after")
    def _is_known_or_says_why(self) -> "Edition":
        if bool(self.tracks) == bool(self.unknown):
            raise ValueError(f"edition {self.year}: give either tracks or unknown")
        return self

    @model_validator(mode="after")
    def _has_a_baseline_for_every_score(self) -> "Edition":
        for track in self.tracks:
            lacking = [metric for metric in track.weights if getattr(self.baseline, metric) is None]
            if lacking:
                what = f"[edition.baseline] lacks {', '.join(lacking)}, which track {track.name!r} weighs"
                raise ValueError(f"{what}: add the baseline's published figure, or leave it out of weights")
        return self

    @field_validator("tracks")
    @classmethod
    def _have_names_of_their_own(cls, tracks: tuple[Track, ...]) -> tuple[Track, ...]:
        """Places are kept by a track's name: of two tracks of one name one would be shown as the other."""
        _refuse_repeated("name of a track", [track.name for track in tracks])
        return tracks

    @field_validator("gates")
    @classmethod
    def _are_of_parts_of_their_own(cls, gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
        """A set is one part of the challenge's images, and a part has one gate."""
        _refuse_repeated("role of a gate", [gate.role for gate in gates])
        _refuse_repeated("name of a set", [name for gate in gates for name in gate.sets])
        return gates

    @property
    def main(self) -> Track:
        """The main ranking."""
        return self.tracks[0]

    @property
    def has_scores(self) -> bool:
        """Tell whether rankings are by scores, exp(2x), and not by ranks."""
        return bool(self.main.weights)

    def role_of(self, dataset: str, num_images: int) -> Role | None:
        """Return which part of the challenge's images a set is, all of them; None if it is none."""
        return next((gate.role for gate in self.gates if dataset in gate.sets and num_images == gate.images), None)

    def judge(self, psnr_db: Mapping[str, float], images: Mapping[str, int] | None = None) -> tuple[Verdict, ...]:
        """Hold PSNRs by role against every gate of which there is one.

        ``images`` are how many each is over; one of another number than the set's is not the set's, and has no gate.
        """
        counts = images or {}
        whole = [gate for gate in self.gates if counts.get(gate.role, gate.images) == gate.images]
        return tuple(filter(None, (gate.judge(psnr_db.get(gate.role)) for gate in whole)))

    def runs_on(self, device: str) -> bool:
        """Tell whether a device, with or without its CPU, is the one on which the organisers time."""
        return _model_of(device) == _model_of(self.gpu)


class _Editions(Frozen):
    edition: tuple[Edition, ...]


def _model_of(device: str) -> list[str]:
    return [word for word in device.partition(",")[0].lower().split() if word not in ("nvidia", "geforce")]


def read_editions(path: Path) -> dict[int, Edition]:
    """Read and check a file of editions.

    Raises:
        RunError: a table lacks a key, has an unknown one or a wrong value, or a year occurs twice.
    """
    editions = read_toml(path, _Editions, " (edition.N counts the tables from 0)").edition
    by_year = {edition.year: edition for edition in editions}
    if len(by_year) < len(editions):
        raise RunError(f"{path}: every year must be unique; there are {[edition.year for edition in editions]}")
    return by_year


@cache
def all_editions() -> dict[int, Edition]:
    """Return the project's editions by year."""
    return read_editions(EDITIONS)


def find_edition(asked: int | str, for_ranking: bool = True) -> Edition:
    """Return the rules of a year, or those in a file.

    Args:
        asked: the year of a challenge, or "newest" for the last one whose ranking rule is known, or the path of a TOML
            file with one edition, in the form of editions.toml.
        for_ranking: whether to insist on a known ranking rule.

    Raises:
        UsageError: there is no such edition or file, or its ranking rule is unknown; the message says what can be had.
        RunError: the file does not have that form; the message names the field and its line.
    """
    if str(asked).endswith(".toml"):
        return _edition_of_file(Path(str(asked)), for_ranking)
    if asked == NEWEST:
        return max((its for its in all_editions().values() if its.tracks), key=lambda its: its.year)
    if not str(asked).isdecimal():
        raise UsageError(f"--edition {asked}: expected a year, newest, or a file FILE.toml as `new-edition` writes it")
    year = int(asked)
    ranked = ", ".join(str(edition.year) for edition in all_editions().values() if edition.tracks)
    edition = all_editions().get(year)
    if edition is None:
        raise UsageError(f"--edition {year}: no rules are known of that year; there are: {ranked}")
    if for_ranking and edition.unknown:
        raise UsageError(f"--edition {year}: cannot be ranked: {edition.unknown}. Take one of: {ranked}")
    return edition


def _edition_of_file(path: Path, for_ranking: bool) -> Edition:
    if reason := why_no_file(path):
        raise UsageError(f"--edition {path}: {reason}; `python -m eval new-edition` writes one")
    found = list(read_editions(path).values())
    if len(found) != 1:
        raise UsageError(f"--edition {path}: expected one [[edition]] table, got {len(found)}")
    if for_ranking and found[0].unknown:
        raise UsageError(f"--edition {path}: cannot be ranked: {found[0].unknown}")
    return found[0]


def edition_text(year: int, source_year: int) -> str:
    """Return a file with the edition of one year, as it stands in editions.toml, under another year.

    Raises:
        UsageError: the rules of the source year are not known.
    """
    find_edition(source_year, for_ranking=False)
    head, *tables = EDITIONS.read_text(encoding="utf-8").split("[[edition]]\n")
    (table,) = (its for its in tables if re.match(rf"year = {source_year}\n", its))
    return f"{head}[[edition]]\n{table.replace(f'year = {source_year}', f'year = {year}', 1)}".rstrip() + "\n"
