"""How long the steady protocol measures, and on which images."""

from dataclasses import dataclass, replace

from eval.config import RunConfig
from eval.intervals import LOOKS


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

    @property
    def looks(self) -> list[int]:
        """After how many rounds it is asked whether places are settled: whenever their number has doubled."""
        return [self.rounds[0] * 2**look for look in range(LOOKS)]

    @property
    def most_rounds(self) -> int:
        """How many rounds there are at most, if their time lasts."""
        return self.rounds[1] if self.settle is None else self.looks[-1]


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("rapid", images=12, rounds=(8, 16), budget_s=30, half_width=0.02),
        Preset("quick", images=30, rounds=(8, 40), budget_s=120, half_width=0.01),
        Preset("normal", images=100, rounds=(10, 100), budget_s=600, half_width=0.005),
    )
}


def preset_of(config: RunConfig) -> Preset:
    """Return the limits that a run asks for."""
    return replace(PRESETS[config.preset], settle=config.settle)


def spread(available: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` indices below ``available``, evenly spread, ends included."""
    count = min(available, wanted)
    return [round(i * (available - 1) / max(count - 1, 1)) for i in range(count)]
