"""The four training steps as data: the factsheet's numbers, and presets that shrink them by stated factors."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from eval.errors import UsageError
from eval.toml_files import toml_of
from team_bsr.draws import DRAWS
from team_bsr.faults import faults_of
from team_bsr.losses import LOSSES
from team_bsr.optimizers import OPTIMIZERS
from team_bsr.pruning import RULES
from team_bsr.sources import SCALE

RECIPES = Path(__file__).parent / "recipes"
STEPS = (1, 2, 3, 4)
# Of smaller patches the attention's strided convolution sees one pixel, and there PyTorch 2.13 leaves part of its
# bf16 weight gradient unset on CPUs: training then ends in NaN, or differs from run to run.
MIN_HR_PATCH = 40
SCALABLE = ("hr_patch", "batch", "rate", "halve_every", "iterations")
SETTABLE = ("ema", "warm_up", "draw", "permute_channels", "optimizer", "schedule")
SCHEDULES = ("halving", "linear")


def _one_of(known: Collection[str]) -> AfterValidator:
    """Return a check of a name; what its error says stands behind "expected"."""

    def check(given: str) -> str:
        if given not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return given

    return AfterValidator(check)


_Count = Annotated[int, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, lt=1)]


# Strict: what a file holds as text or with a decimal point is not made a whole number in silence.
@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Step:
    """One step of the recipe.

    The first group is the factsheet's; what it leaves open has the defaults of the second group.

    Attributes:
        number: 1 to 4.
        stage: 1, four PFDBLite; 2, the second and third block pruned.
        hr_patch: side of an HR patch, pixels.
        batch: patches a global batch.
        loss: name in ``losses.LOSSES``.
        rate: initial learning rate.
        halve_every: iterations after which the rate halves, again and again, where ``schedule`` is "halving".
        iterations: of the whole step.
        betas: AdamW's.
        weight_decay: AdamW's. Small, for a network this size does not overfit.
        ema: decay of the averaged weights, which are what is validated, handed to the next step and exported.
        rule: how blocks are pruned where the second stage begins, see ``pruning.prune``.
        warm_up: iterations over which the rate grows to its first value.
        draw: how patches are drawn, a name in ``draws.DRAWS``.
        permute_channels: whether each patch has its channels in an order drawn for it.
        optimizer: name in ``optimizers.OPTIMIZERS``.
        schedule: how the rate falls: by "halving", or as a "linear" function of the iterations, to 0 at the step's end.
    """

    number: int
    stage: Literal[1, 2]
    hr_patch: Annotated[int, Field(ge=MIN_HR_PATCH, multiple_of=SCALE)]
    batch: _Count
    loss: Annotated[str, _one_of(LOSSES)]
    rate: Annotated[float, Field(gt=0)]
    halve_every: _Count
    iterations: _Count
    # A file holds a list.
    betas: Annotated[tuple[_Share, _Share], Field(strict=False)] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    ema: _Share = 0.999
    rule: Annotated[str, _one_of(RULES)] = "importance"
    warm_up: Annotated[int, Field(ge=0)] = 0
    draw: Annotated[str, _one_of(DRAWS)] = "uniform"
    permute_channels: bool = False
    optimizer: Annotated[str, _one_of(OPTIMIZERS)] = "adamw"
    schedule: Annotated[str, _one_of(SCHEDULES)] = "halving"

    def rate_at(self, position: int, iteration: int) -> float:
        """Return a learning rate: smaller by the iterations that count as done, grown by those that really were.

        Where minutes are limited the first position after a slow start is far on, and the optimizer knows nothing yet.
        """
        is_linear = self.schedule == "linear"
        left = 1 - position / self.iterations if is_linear else 0.5 ** (position // self.halve_every)
        return self.rate * left * min(1, (iteration + 1) / (self.warm_up + 1))

    def scaled(self, factors: dict[str, Any]) -> "Step":
        """Return this step with fields multiplied by ``factors``, fractions such as "1/25"; counts are rounded.

        What the factsheet leaves open is set, not multiplied.

        Raises:
            UsageError: a key cannot be scaled or set, or its value is none for it; the message names step and key.
        """
        changed: dict[str, Any] = {}
        for name, given in factors.items():
            if name in SETTABLE:
                changed[name] = given
            elif name in SCALABLE:
                changed[name] = self._times(name, given)
            else:
                known = f"{', '.join(SCALABLE)}, or a value of {', '.join(SETTABLE)}"
                raise UsageError(f"step{self.number}: expected a factor of {known}; got {name!r}")
        return checked_step(f"step{self.number}: ", {**asdict(self), **changed})

    def _times(self, name: str, given: Any) -> float:
        """Return a field times a factor, rounded to what it counts in; raises as ``scaled`` does."""
        unit = SCALE if name == "hr_patch" else 1
        with suppress(TypeError, ValueError, ArithmeticError):
            # To Python true is 1.
            if not isinstance(given, bool) and (factor := Fraction(given)) > 0:
                value = getattr(self, name) * factor
                return float(value) if name == "rate" else round(value / unit) * unit
        wanted = 'expected a factor above 0, a number or a fraction in quotes such as "1/25"'
        raise UsageError(f"step{self.number}: {name}: {wanted}; got {given!r}")


def load_recipe(folder: Path = RECIPES, preset: str | None = None) -> tuple[Step, ...]:
    """Read ``step1.toml`` to ``step4.toml``, and apply ``presets/NAME.toml`` if a preset is named.

    Raises:
        UsageError: a step has no file, or there is no such preset; or a file holds an unknown key, misses one, or holds
            a value out of range. The message names what is wrong, and lists the presets that there are.
    """
    steps = tuple(_read_step(folder / f"step{number}.toml", number) for number in STEPS)
    if preset is None:
        return steps
    path = folder / "presets" / f"{preset}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.toml")))
        raise UsageError(f"--preset: expected one of {known}, got {preset!r}")
    factors, names = toml_of(path), [f"step{number}" for number in STEPS]
    for name, table in factors.items():
        if name not in names or not isinstance(table, dict):
            got = name if isinstance(table, dict) else f"{name} = {table!r}"
            raise UsageError(f"{path}: expected tables {names[0]} to {names[-1]}, got {got}")
    try:
        return tuple(step.scaled(factors.get(name, {})) for name, step in zip(names, steps, strict=True))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def chosen_steps(recipe: tuple[Step, ...], steps: str) -> tuple[Step, ...]:
    """Return the recipe's steps that ``--steps`` names.

    Raises:
        UsageError: it has no such step.
    """
    names, known = {name.strip() for name in steps.split(",")}, [str(step.number) for step in recipe]
    if unknown := names.difference(known):
        raise UsageError(f"--steps: expected numbers of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    return tuple(step for step in recipe if str(step.number) in names)


def _read_step(path: Path, number: int) -> Step:
    if not path.is_file():
        raise UsageError(f"--recipe {path.parent}: expected step1.toml to step4.toml, found no {path.name}")
    values = toml_of(path)
    known = {field.name for field in fields(Step)} - {"number"}
    if unknown := set(values) - known:
        raise UsageError(f"{path}: expected keys of {', '.join(sorted(known))}; got {', '.join(sorted(unknown))}")
    return checked_step(f"{path}: ", {**values, "number": number})


def checked_step(where: str, values: Mapping[str, Any]) -> Step:
    """Return a step of these values; ``where`` stands before the message of what is wrong with them.

    Raises:
        UsageError: one is missing or none for its key.
    """
    try:
        return Step(**values)
    except ValidationError as error:
        raise UsageError(f"{where}{faults_of(error)}") from error
