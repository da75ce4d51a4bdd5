"""The four training steps as data: the factsheet's numbers, and presets that shrink them by stated factors."""

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from eval.errors import UsageError
from eval.toml_files import toml_of
from team_bsr.draws import DRAWS
from team_bsr.losses import LOSSES
from team_bsr.pruning import RULES
from team_bsr.sources import SCALE

RECIPES = Path(__file__).parent / "recipes"
STEPS = (1, 2, 3, 4)
# Of smaller patches the attention's strided convolution sees one pixel, and there PyTorch 2.13 leaves part of its
# bf16 weight gradient unset on CPUs: training then ends in NaN, or differs from run to run.
MIN_HR_PATCH = 40
SCALABLE = ("hr_patch", "batch", "rate", "halve_every", "iterations")
SETTABLE = ("ema", "warm_up", "draw", "permute_channels")


@dataclass(frozen=True)
class Step:
    """One step of the recipe.

    The first group is the factsheet's; what it leaves open has the defaults of the second group.

    Attributes:
        number: 1 to 4.
        stage: 1, four PFDBLite; 2, the second and third block pruned.
        hr_patch: side of an HR patch, pixels.
        batch: patches a global batch.
        loss: name in ``losses.LOSSES``.
        rate: initial learning rate of AdamW.
        halve_every: iterations after which the rate halves, again and again.
        iterations: of the whole step.
        betas: AdamW's.
        weight_decay: AdamW's. Small, for a network this size does not overfit.
        ema: decay of the averaged weights, which are what is validated, handed to the next step and exported.
        rule: how blocks are pruned where the second stage begins, see ``pruning.prune``.
        warm_up: iterations over which the rate grows to its first value.
        draw: how patches are drawn, a name in ``draws.DRAWS``.
        permute_channels: whether each patch has its channels in an order drawn for it.
    """

    number: int
    stage: int
    hr_patch: int
    batch: int
    loss: str
    rate: float
    halve_every: int
    iterations: int
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-4
    ema: float = 0.999
    rule: str = "importance"
    warm_up: int = 0
    draw: str = "uniform"
    permute_channels: bool = False

    def __post_init__(self) -> None:
        where = f"step {self.number}"
        if self.stage not in (1, 2):
            raise UsageError(f"{where}: stage: expected 1 or 2, got {self.stage}")
        for name, known in (("loss", LOSSES), ("rule", RULES), ("draw", DRAWS)):
            if getattr(self, name) not in known:
                raise UsageError(f"{where}: {name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.hr_patch < MIN_HR_PATCH or self.hr_patch % SCALE:
            raise UsageError(
                f"{where}: hr_patch: expected a multiple of {SCALE}, at least {MIN_HR_PATCH}; got {self.hr_patch}"
            )
        for name in ("batch", "rate", "halve_every", "iterations"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{where}: {name}: expected a number above 0, got {getattr(self, name)}")
        for name in ("weight_decay", "warm_up"):
            if getattr(self, name) < 0:
                raise UsageError(f"{where}: {name}: expected 0 or more, got {getattr(self, name)}")
        for name, shares in (("betas", self.betas), ("ema", (self.ema,))):
            if not all(0 <= share < 1 for share in shares):
                raise UsageError(f"{where}: {name}: expected 0 or more and below 1, got {getattr(self, name)}")
        if len(self.betas) != 2:
            raise UsageError(f"{where}: betas: expected two numbers, got {self.betas}")

    def rate_at(self, position: int, iteration: int) -> float:
        """Return a learning rate: halved by the iterations that count as done, grown by those that really were.

        Where minutes are limited the first position after a slow start is far on, and the optimizer knows nothing yet.
        """
        return self.rate * 0.5 ** (position // self.halve_every) * min(1, (iteration + 1) / (self.warm_up + 1))

    def scaled(self, factors: dict[str, Any]) -> "Step":
        """Return this step with fields multiplied by ``factors``, fractions such as "1/25"; counts are rounded.

        What the factsheet leaves open is set, not multiplied.

        Raises:
            UsageError: a factor names no field that can be scaled or set.
        """
        changed: dict[str, Any] = {}
        for name, text in factors.items():
            if name in SETTABLE:
                changed[name] = text
            elif name in SCALABLE:
                value = getattr(self, name) * Fraction(text)
                unit = SCALE if name == "hr_patch" else 1
                changed[name] = float(value) if name == "rate" else round(value / unit) * unit
            else:
                known = f"{', '.join(SCALABLE)}, or a value of {', '.join(SETTABLE)}"
                raise UsageError(f"step {self.number}: expected a factor of {known}; got {name!r}")
        return replace(self, **changed)


def load_recipe(folder: Path = RECIPES, preset: str | None = None) -> tuple[Step, ...]:
    """Read ``step1.toml`` to ``step4.toml``, and apply ``presets/NAME.toml`` if a preset is named.

    Raises:
        UsageError: there is no such preset; the message lists those that there are.
        UsageError: a file holds an unknown key, misses one, or holds a value out of range; the message names it.
    """
    steps = tuple(_read_step(folder / f"step{number}.toml", number) for number in STEPS)
    if preset is None:
        return steps
    path = folder / "presets" / f"{preset}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.toml")))
        raise UsageError(f"--preset: expected one of {known}, got {preset!r}")
    factors = toml_of(path)
    unknown = set(factors) - {f"step{number}" for number in STEPS}
    if unknown:
        raise UsageError(f"{path}: expected tables step1 to step4, got {', '.join(sorted(unknown))}")
    return tuple(step.scaled(factors.get(f"step{step.number}", {})) for step in steps)


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
    values = toml_of(path)
    known = {field.name for field in fields(Step)} - {"number"}
    if unknown := set(values) - known:
        raise UsageError(f"{path}: expected keys of {', '.join(sorted(known))}; got {', '.join(sorted(unknown))}")
    try:
        return Step(number=number, betas=tuple(values.pop("betas", Step.betas)), **values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
