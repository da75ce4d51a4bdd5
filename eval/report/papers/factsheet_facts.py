"""What a factsheet takes from files: the team's own words, and the steps of its recipe, read as data."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from eval.errors import UsageError
from eval.files import why_no_file
from eval.frozen import Frozen
from eval.toml_files import read_toml


class Member(Frozen):
    """One person."""

    name: str
    affiliation: str
    leader: bool = False


class TeamDetails(Frozen):
    """Who the team is; ``entries`` are its best ones, by the part of the images that they are on."""

    name: str
    members: tuple[Member, ...]
    code: str
    website: str = ""
    sponsors: str = "not applicable"
    user_names: tuple[str, ...] = ()
    entries: dict[str, str] = {}

    @model_validator(mode="after")
    def _has_one_leader(self) -> "TeamDetails":
        leaders = sum(member.leader for member in self.members)
        if leaders != 1:
            raise ValueError(f"members: expected one with leader = true, got {leaders}")
        return self


class Paragraph(Frozen):
    """One paragraph of the method's description."""

    text: str
    title: str = ""


class Method(Frozen):
    """What is submitted. ``model`` and ``compared_with`` are names of models in records."""

    model: str
    paragraphs: tuple[Paragraph, ...]
    compared_with: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


class Training(Frozen):
    """How it was trained; ``recipe`` is a folder of step1.toml, step2.toml, …; ``stages`` introduce their steps."""

    recipe: str
    dataset: str
    optimizer: str
    stages: tuple[str, ...]


class Team(Frozen):
    """The content of a team.toml."""

    challenge: str
    title: str
    team: TeamDetails
    method: Method
    training: Training


class Step(BaseModel):
    """What a step of a recipe must say to be described; what else it says is not."""

    model_config = ConfigDict(frozen=True)

    number: int
    stage: int
    hr_patch: int
    batch: int
    loss: str
    rate: float
    halve_every: int
    iterations: int
    optimizer: str | None = None
    schedule: str = "halving"

    def sentence(self, optimizer: str) -> str:
        """Return the step as a sentence; ``optimizer`` is that of steps that name none."""
        loss = {"l1": "L1", "mse": "MSE"}.get(self.loss, self.loss.capitalize())
        whole = f"{_thousands(self.iterations)} iterations"
        halves = f"halves every {_thousands(self.halve_every)} of {whole}"
        falls = {"halving": halves, "linear": f"falls linearly to 0 over {whole}"}[self.schedule]
        return (
            f"HR patches of {self.hr_patch}x{self.hr_patch} pixels are cropped at random, {self.batch} a mini-batch. "
            f"{loss} loss, {self.optimizer or optimizer}; the learning rate starts at {self.rate:g} and {falls}."
        )


def _thousands(count: int) -> str:
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def read_team(path: Path) -> Team:
    """Read a team.toml.

    Raises:
        UsageError: there is no such file.
        RunError: it is no TOML, lacks a key, or has an unknown one or a wrong value.
    """
    if reason := why_no_file(path):
        raise UsageError(f"{path}: {reason}; team_bsr/team.toml is an example")
    return read_toml(path, Team)


def read_steps(folder: Path) -> tuple[Step, ...]:
    """Read step1.toml, step2.toml, … of a recipe's folder, in order.

    Raises:
        UsageError: there is none.
        RunError: one of them is no TOML or lacks a key.
    """
    steps = []
    while (path := folder / f"step{len(steps) + 1}.toml").is_file():
        steps.append(read_toml(path, Step, number=len(steps) + 1))
    if not steps:
        raise UsageError(f"training.recipe: expected a folder of step1.toml, step2.toml, …; found none in {folder}")
    return tuple(steps)
