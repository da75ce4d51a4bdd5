"""What the page says of a record beside its figures: state, edition, where its paper and code are."""

from collections.abc import Sequence

from eval.records.record import Record, State
from eval.zoo.manifest import ModelSpec, all_models
from eval.zoo.model_info import ZOO

RAN = State.RAN.value


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


def links_of(record: Record) -> tuple[tuple[str, str], ...]:
    """Return where a model's paper and code are, by what they are."""
    spec = spec_of(record)
    links = (("paper", spec.paper), ("code", spec.code)) if spec else ()
    return tuple((what, address) for what, address in links if address)


def edition_of(record: Record) -> str:
    """Return the edition that a model was made for; a dash where it is not known, nothing for a user's own network."""
    spec = spec_of(record)
    if record.model.is_own:
        return ""
    if spec is None:
        return "-" if record.model.origin == ZOO else record.model.origin
    return "-" if spec.edition == "none" else spec.edition


def baseline_of(rows: Sequence[Record], preferred: str | None = None) -> int | None:
    """Return the place of the row that others are compared with: the one asked for, the timed baseline, or the first.

    Rows that did not finish cannot be it.
    """
    complete = {index: record for index, record in enumerate(rows) if record.complete}
    named = [index for index, its in complete.items() if its.model.label == preferred]
    timed = [index for index, its in complete.items() if its.timing and its.timing.is_baseline]
    networks = [index for index, its in complete.items() if its.model.is_network]
    return next(iter((*named, *timed, *networks, *complete)), None)
