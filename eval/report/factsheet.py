"""A team's factsheet in LaTeX: what the team says of itself, what its recipe says, and what records measured."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from eval.errors import RunError, UsageError, explain
from eval.layouts import ALIASES
from eval.record import Protocol, Record
from eval.report.latex_text import latex_text
from eval.report.table1 import read_table1


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Table):
    """One person."""

    name: str
    affiliation: str
    leader: bool = False


class TeamDetails(_Table):
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


class Paragraph(_Table):
    """One paragraph of the method's description."""

    text: str
    title: str = ""


class Method(_Table):
    """What is submitted. ``model`` and ``compared_with`` are names of models in records."""

    model: str
    paragraphs: tuple[Paragraph, ...]
    compared_with: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


class Training(_Table):
    """How it was trained; ``recipe`` is a folder of step1.toml, step2.toml, …; ``stages`` introduce their steps."""

    recipe: str
    dataset: str
    optimizer: str
    stages: tuple[str, ...]


class Team(_Table):
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

    def sentence(self, optimizer: str) -> str:
        """Return the step as a sentence."""
        loss = {"l1": "L1", "mse": "MSE"}.get(self.loss, self.loss.capitalize())
        return (
            f"HR patches of {self.hr_patch}x{self.hr_patch} pixels are cropped at random, {self.batch} a mini-batch. "
            f"{loss} loss, {optimizer}; the learning rate starts at {self.rate:g} and halves every "
            f"{_thousands(self.halve_every)} of {_thousands(self.iterations)} iterations."
        )


def _thousands(count: int) -> str:
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def read_team(path: Path) -> Team:
    """Read a team.toml.

    Raises:
        UsageError: there is no such file.
        RunError: it is no TOML, lacks a key, or has an unknown one or a wrong value.
    """
    return _read(path, Team)


def read_steps(folder: Path) -> tuple[Step, ...]:
    """Read step1.toml, step2.toml, … of a recipe's folder, in order.

    Raises:
        UsageError: there is none.
        RunError: one of them is no TOML or lacks a key.
    """
    steps = []
    while (path := folder / f"step{len(steps) + 1}.toml").is_file():
        steps.append(_read(path, Step, number=len(steps) + 1))
    if not steps:
        raise UsageError(f"training.recipe: expected a folder of step1.toml, step2.toml, …; found none in {folder}")
    return tuple(steps)


def _read(path: Path, kind: type[BaseModel], **more: int) -> Any:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; team_bsr/team.toml is an example")
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")) | more)
    except ValidationError as error:
        raise RunError(f"{path}: {explain(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: {error}") from error


@dataclass(frozen=True)
class Latex:
    """Text that is LaTeX already, so that the template does not escape it."""

    text: str

    def __str__(self) -> str:
        return self.text


def factsheet(team: Team, steps: Sequence[Step], records: Sequence[Record]) -> str:
    """Return the factsheet as LaTeX that plain pdflatex compiles.

    Args:
        team: what the team says.
        steps: of its recipe.
        records: of its model and of those it is compared with, oldest first.

    Raises:
        RunError: no complete record of the team's model says its PSNR and complexity.
    """
    members = sorted(team.team.members, key=lambda member: not member.leader)
    affiliations = list(dict.fromkeys(member.affiliation for member in members))
    models = (*team.method.compared_with, team.method.model)
    found = {(r.model.name, r.dataset.name): r for r in records if r.complete and r.mean("psnr_db") is not None}
    table = list(_table(models, found))
    stages = [
        {
            "text": text,
            "steps": [
                {"number": step.number, "sentence": step.sentence(team.training.optimizer)}
                for step in steps
                if step.stage == number
            ],
        }
        for number, text in enumerate(team.training.stages, 1)
    ]
    return _environment().get_template("factsheet.tex").render(
        team=team,
        leader=members[0].name,
        others=[member.name for member in members[1:]],
        authors=[(member.name, 1 + affiliations.index(member.affiliation)) for member in members],
        affiliations=affiliations,
        stages=stages,
        model=team.method.model,
        complexity=_complexity(team.method.model, records),
        models=models,
        table=table,
        has_published=any("(" in cell for _, cells in table for cell in cells),
    )  # fmt: skip


def _table(models: Sequence[str], found: dict[tuple[str, str], Record]) -> list[tuple[str, list[str]]]:
    """Return one row a set: measured PSNR, and the published one in brackets; a dash where there is none."""
    published = {}
    for its in read_table1()[1]:
        for dataset in ALIASES.get(its.dataset, (its.dataset,)):
            published[dataset] = its
    order = list(published)
    measured = dict.fromkeys(dataset for name, dataset in found if name in models)
    rows = []
    for dataset in sorted(measured, key=lambda name: order.index(name) if name in order else len(order)):
        known = published.get(dataset)
        cells = []
        for model in models:
            record = found.get((model, dataset))
            text = "-" if record is None else f"{record.mean('psnr_db'):.2f}"
            figure = known.published.get(model) if known else None
            cells.append(f"{text} ({figure:.2f})" if figure is not None else text)
        rows.append((known.name if known else dataset, cells))
    return rows


def _complexity(model: str, records: Sequence[Record]) -> dict[str, Any]:
    own = [record for record in records if record.complete and record.model.name == model]
    counted = [record.complexity for record in own if record.complexity]
    if not counted:
        names = ", ".join(sorted({record.model.name for record in records})) or "none"
        raise RunError(
            f"method.model: expected a complete record of {model} with its complexity, got records of: {names}; "
            f"run: python -m eval run --models {model}"
        )
    its = counted[-1]
    timed = [record for record in own if record.mean("runtime_ms") is not None]
    timed.sort(key=lambda record: (record.settings.protocol == Protocol.STEADY, record.started_at))
    notes = [_runtime(timed[-1])] if timed else []
    if its.suspect_ops:
        notes.append(f"The counter has no rule for {', '.join(its.suspect_ops)}.")
    return {
        "side": its.input_side,
        "params": f"{its.num_params / 1e6:.3f}",
        "flops": f"{its.flops / 1e9:.2f}",
        "activations": f"{its.activations / 1e6:.2f}",
        "num_conv": its.num_conv,
        "notes": notes,
    }


def _runtime(record: Record) -> str:
    environment = record.environment
    device = environment.gpu or f"{environment.cpu} ({environment.threads} thread(s))"
    return (
        f"On {record.dataset.name} it takes {record.mean('runtime_ms'):.2f} ms an image "
        f"on {device} (protocol {record.settings.protocol})."
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("eval.report"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        finalize=_escaped,
        undefined=StrictUndefined,
    )
    environment.filters["url"] = _url
    return environment


def _escaped(value: object) -> str:
    """Escape whatever the template writes, unless it is LaTeX already."""
    return str(value) if isinstance(value, Latex) else latex_text(" ".join(str(value).split()))


def _url(address: str) -> Latex:
    r"""Return an address for ``\url``, with what would end it or begin a comment percent-encoded."""
    return Latex(
        "".join(f"\\%{ord(char):02X}" if char in "\\{}%^~#" or not char.isascii() else char for char in address)
    )
