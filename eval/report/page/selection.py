"""Which records stand in which table of the page: complete ones first, others with the reason why they are not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from eval.record import ZOO, Protocol, Record, State
from eval.report.columns import manner_of
from eval.zoo import ModelSpec, all_models

RAN = State.RAN.value


@dataclass(frozen=True, order=True)
class Conditions:
    """What all rows of a table have in common; figures of different conditions are never in one table."""

    dataset: str
    protocol: str
    device: str
    machine: str = ""
    manner: str = ""

    @property
    def title(self) -> str:
        """Set, protocol and device in one line, and how networks ran if not as plain torch in float32."""
        return " · ".join(filter(None, (self.dataset, self.protocol, self.machine or self.device, self.manner)))


def conditions_of(record: Record) -> Conditions:
    """Return a record's conditions; the machine counts where time was taken, for pixels are the same."""
    settings, environment = record.settings, record.environment
    timed = settings.protocol != Protocol.ACCURACY
    machine = environment.gpu or f"{environment.cpu}, {environment.threads} thread(s)"
    return Conditions(
        record.dataset.name,
        settings.protocol.value,
        settings.device,
        machine if timed else "",
        ", ".join(manner_of(record)),
    )


def distinct(records: Sequence[Record]) -> list[Record]:
    """Return records whose labels tell models apart: those of a checkout name it where the zoo has the same label."""
    origins: dict[str, set[str]] = {}
    for record in records:
        origins.setdefault(record.model.label, set()).add(record.model.origin)
    return [_with_origin(record) if len(origins[record.model.label]) > 1 else record for record in records]


def _with_origin(record: Record) -> Record:
    model = record.model
    if model.origin == ZOO:
        return record
    renamed = model.model_copy(update={"label": f"{model.label}{_origin_mark(record)}"})
    return record.model_copy(update={"model": renamed})


def _origin_mark(record: Record) -> str:
    return f" ({record.model.origin})"


def folder_of(record: Record) -> str:
    """Return the label under which a record's SR images lie."""
    return record.model.label.removesuffix(_origin_mark(record))


def group_records(records: Iterable[Record]) -> list[tuple[Conditions, list[Record]]]:
    """Return one record a model and conditions: the newest complete one, or else the newest; by id."""

    def place(record: Record) -> tuple[Conditions, int, str]:
        return conditions_of(record), record.model.id, record.model.label

    chosen = []
    for _, group in groupby(sorted(distinct(list(records)), key=place), key=place):
        chosen.append(max(group, key=lambda record: (record.complete, record.started_at)))
    return [(conditions, list(group)) for conditions, group in groupby(chosen, key=conditions_of)]


def state_of(record: Record) -> str:
    """Return what became of a run, in a few words."""
    if record.complete:
        return RAN
    return record.status if record.state is State.RAN else record.state.value


def spec_of(record: Record) -> ModelSpec | None:
    """Return the manifest's row of a model of the zoo; None for any other."""
    if record.model.origin != ZOO:
        return None
    same = (spec for spec in all_models() if (spec.id, spec.name) == (record.model.id, record.model.name))
    return next(same, None)


def edition_of(record: Record) -> str:
    """Return the edition that a model was made for; a dash where it is not known."""
    spec = spec_of(record)
    if spec is None:
        return "-" if record.model.origin == ZOO else record.model.origin
    return "-" if spec.edition == "none" else spec.edition


def baseline_of(rows: Sequence[Record], preferred: str | None = None) -> int | None:
    """Return the place of the row that others are compared with: the one asked for, the timed baseline, or the first.

    Rows that did not finish cannot be it.
    """
    complete = [index for index, record in enumerate(rows) if record.complete]
    ratios = [rows[index].timing.ratio for index in complete if rows[index].timing and rows[index].timing.ratio]
    for wanted in filter(None, (preferred, ratios[0].baseline if ratios else None)):
        for index in complete:
            if rows[index].model.label == wanted:
                return index
    networks = [index for index in complete if rows[index].model.id >= 0]
    return next(iter(networks or complete), None)
