"""A team's factsheet in LaTeX: what the team says of itself, what its recipe says, and what records measured."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from eval.data.aliases import ALIASES
from eval.errors import RunError
from eval.records.conditions import manner_of
from eval.records.current import current
from eval.records.record import Protocol, Record
from eval.report.escapes import latex_figure, latex_text
from eval.report.papers.factsheet_facts import Step, Team
from eval.report.papers.table1 import read_table1
from eval.report.table import number
from eval.words import counted
from eval.zoo.model_info import ZOO

# What a set is called, by a hash too where others have its name, and how many images it has.
Images = tuple[str, int]


class Latex(str):
    """Text that is LaTeX already, so that the template does not escape it."""


def factsheet(team: Team, steps: Sequence[Step], records: Sequence[Record]) -> str:
    """Return the factsheet as LaTeX that plain pdflatex compiles.

    What it prints is of the zoo's networks on whole images in float32, with the weights that their authors released
    where a record has them, or else the newest, which are named.

    Raises:
        RunError: no such record of the team's model says its PSNR and complexity.
    """
    members = sorted(team.team.members, key=lambda member: not member.leader)
    affiliations = list(dict.fromkeys(member.affiliation for member in members))
    models = (*team.method.compared_with, team.method.model)
    comparable = _comparable(records)
    records = [record for _, record in comparable]
    found = {(its.model.name, images): its for images, its in comparable if its.mean("psnr_db") is not None}
    table = list(_table(models, found))
    return _environment().get_template("factsheet.tex").render(
        team=team,
        leader=members[0].name,
        others=[member.name for member in members[1:]],
        authors=[(member.name, 1 + affiliations.index(member.affiliation)) for member in members],
        affiliations=affiliations,
        steps=steps,
        model=team.method.model,
        complexity=_complexity(team.method.model, records),
        models=models,
        table=[(name, [Latex(latex_figure(cell)) for cell in cells]) for name, cells in table],
        has_published=any("(" in cell for _, cells in table for cell in cells),
    )  # fmt: skip


def _table(models: Sequence[str], found: dict[tuple[str, Images], Record]) -> list[tuple[str, list[str]]]:
    """Return one row a set with its number of images: measured PSNR, and in brackets that published for as many."""
    sets = read_table1()[1]
    published = {name: its for its in sets for name in ALIASES.get(its.dataset, (its.dataset,))}
    measured = {images: record.dataset.name for (model, images), record in found.items() if model in models}
    rows = []
    for images, dataset in sorted(measured.items(), key=lambda its: [*published, its[1]].index(its[1])):
        known, cells = published.get(dataset), []
        name, count = images
        for model in models:
            record = found.get((model, images))
            text = "-" if record is None else f"{record.mean('psnr_db'):.2f}"
            figure = known.published.get(model) if known and known.images == count else None
            cells.append(f"{text} ({figure:.2f})" if figure is not None else text)
        rows.append((f"{name.replace(dataset, known.name, 1) if known else name} ({count})", cells))
    return rows


def _comparable(records: Sequence[Record]) -> list[tuple[Images, Record]]:
    """Return the records that count of the zoo's networks, whole images and float32, by what they are of; newest last.

    Of each network they are of one version's weights: the released ones, or else the newest.
    """
    plain = [its for its in records if its.complete and its.settings.tile is None and not manner_of(its)]
    tables = current(its for its in plain if its.model.origin == ZOO)
    found = [((its.dataset, row.dataset.num_images), row) for its, rows in tables for row in rows]
    found.sort(key=lambda its: (not its[1].model.own_weights, its[1].started_at))
    chosen = {its.model.name: _weights(its) for _, its in found}
    return [(images, its) for images, its in found if _weights(its) == chosen[its.model.name]]


def _weights(record: Record) -> tuple[str, str | None]:
    return record.model.own_weights, record.model.weights_sha256


def _complexity(model: str, records: Sequence[Record]) -> dict[str, Any]:
    own = [record for record in records if record.model.name == model]
    known = [record.complexity for record in own if record.complexity]
    analysed = [its for its in known if None not in (its.flops, its.activations)]
    if not analysed:
        names = ", ".join(sorted({record.model.name for record in records})) or "none"
        raise RunError(
            f"method.model: expected a complete record of {model}, of whole images in float32, with its complexity, "
            f"got such records of: {names}; "
            f"run: python -m eval run --models {model}"
        )
    its = analysed[-1]
    timed = [(record, ms) for record in own if (ms := record.mean("runtime_ms")) is not None]
    timed.sort(key=lambda pair: (pair[0].settings.protocol == Protocol.STEADY, pair[0].started_at))
    notes = [
        f"On {record.timed_part or counted(len(record.images), 'image')} of {record.dataset.name} it takes {ms:.2f} ms "
        f"an image on {record.environment.machine} (protocol {record.settings.protocol})."
        for record, ms in timed[-1:]
    ]
    others = {record.model.full_name for record in records if record.model.own_weights}
    notes += [f"Not of released weights: {', '.join(sorted(others))}."] if others else []
    if its.suspect_ops:
        notes.append(f"The counter has no rule for {', '.join(its.suspect_ops)}.")
    return {
        "side": its.input_side,
        "params": f"{its.num_params / 1e6:.3f}",
        "flops": number(its.flops and its.flops / 1e9),
        "activations": number(its.activations and its.activations / 1e6),
        "num_conv": its.num_conv,
        "notes": notes,
    }


def _environment() -> Environment:
    environment = Environment(
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>", trim_blocks=True, lstrip_blocks=True, autoescape=False,
        loader=PackageLoader("eval.report.papers"), finalize=_escaped, undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters["url"] = _url
    return environment


def _escaped(value: object) -> str:
    """Escape whatever the template writes, unless it is LaTeX already."""
    return value if isinstance(value, Latex) else latex_text(" ".join(str(value).split()))


def _url(address: str) -> Latex:
    r"""Return an address for ``\url``, with what would end it or begin a comment percent-encoded."""
    plain = (f"\\%{ord(char):02X}" if char in "\\{}%^~#" or not char.isascii() else char for char in address)
    return Latex("".join(plain))
