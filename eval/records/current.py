"""Which records count: one rule for the terminal, for files, for the page and for rankings.

Records whose figures may stand side by side share their ``Conditions``. Of several records of one model under the same
conditions one counts; models that share a label get labels that tell them apart.

For example, RLFN and PFDNLite that were timed together, and SPAN of which the accuracy alone was measured, have five
records: two of the protocol steady, and three of its accuracy passes and SPAN's. They make one table of three rows: the
two steady records, with the metrics that their passes alone have, and SPAN without a time.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from eval.records.conditions import Conditions, conditions_of, is_timed
from eval.records.labels import distinct
from eval.records.record import SHOWN_OF_A_HASH, Protocol, Record

# In the order of their tables.
PROTOCOLS = (Protocol.STEADY, Protocol.OFFICIAL, Protocol.ACCURACY)

# What becomes a table: records with what they share.
Group = tuple[Conditions, list[Record]]


def current(records: Iterable[Record]) -> list[Group]:
    """Return the records that count, table by table, one a model: the best complete one, or else the newest; by id.

    Sets stand in the order in which they were first run; of one set, tables with times stand first. The accuracy pass
    of a steady run is part of the steady table, so that no model stands twice.
    """
    return _folded(_tables(records))


def found_and_used(records: Sequence[Record]) -> str:
    """Say how many records there are, how many count, and why the others do not."""
    tables = _tables(records)
    chosen, used = (sum(len(rows) for _, rows in each) for each in (tables, _folded(tables)))
    words = [f"{len(records)} found, {used} used"]
    words += [f"{chosen - used} are accuracy passes whose figures stand in the steady records"] if chosen > used else []
    words += [f"{len(records) - chosen} have a newer or fuller one of their kind"] if len(records) > chosen else []
    return "; ".join(words)


def complete_ones(tables: Iterable[Group]) -> list[Record]:
    """Return the complete records of all tables, in their order."""
    return [record for _, rows in tables for record in rows if record.complete]


def failures(records: Iterable[Record]) -> list[Record]:
    """Return the newest record of each model and conditions where it is not complete."""
    latest = [max(group, key=lambda record: record.started_at) for _, group in _by_model(records)]
    return [record for record in latest if not record.complete]


def keys_shown(records: Iterable[Record]) -> set[str]:
    """Return the keys of the records whose figures tables show: not those of which a newer one took the place."""
    rows = [(its, _best(group)) for _, group in _by_model(records) for its in group]
    return {its.key for its, best in rows if its.key and (its.key == best.key or _are_alike(its, best))}


def _tables(records: Iterable[Record]) -> list[Group]:
    groups = [(key[0], list(group)) for key, group in _by_model(records)]
    first: dict[str, datetime] = {}
    for conditions, group in groups:
        started = min(record.started_at for record in group)
        first[conditions.dataset] = min(started, first.get(conditions.dataset, started))
    best = [(conditions, _best(group)) for conditions, group in groups]
    tables = [(place, [row for _, row in items]) for place, items in groupby(best, key=lambda item: item[0])]
    return sorted(tables, key=lambda its: (first[its[0].dataset], its[0].dataset, PROTOCOLS.index(its[0].protocol)))


def _identity(record: Record) -> tuple:
    """Return what an accuracy pass shares with the steady record that holds its figures."""
    model, place = record.model, (record.environment.device_name, record.settings.precision)
    return model.label, model.origin, model.weights_sha256, record.dataset.identity, place, _made_of(record)


def holds(table: Group, record: Record) -> bool:
    """Tell whether a record's figures have their place in a table: by its conditions, or as an accuracy pass there."""
    conditions, rows = table
    alike = record.dataset.identity in {row.dataset.identity for row in rows}
    own = replace(conditions_of(record), dataset=conditions.dataset) == conditions
    return alike and (own or any(_is_pass_of(record, row) for row in rows))


def _is_pass_of(record: Record, timed: Record) -> bool:
    """Tell whether a record is the accuracy pass of a steady one, whose figures besides times are the same."""
    untimed, steady = (its.settings.protocol for its in (record, timed))
    return (
        (untimed, steady) == (Protocol.ACCURACY, Protocol.STEADY)
        and record.complete
        and timed.complete
        and _identity(record) == _identity(timed)
    )


def _with_figures_of(record: Record, timed: Record) -> Record:
    """Return a steady record with the figures that its accuracy pass alone has."""
    lacking = [key for key in record.means if key not in timed.means]
    if not lacking:
        return timed
    taken = {image.name: {key: image.figure(key) for key in lacking} for image in record.images}
    images = tuple(image.model_copy(update=taken[image.name]) for image in timed.images)
    means = timed.means | {key: record.means[key] for key in lacking}
    return timed.model_copy(update={"images": images, "means": means})


def _folded(tables: Sequence[Group]) -> list[Group]:
    """Fold accuracy passes into the steady tables; models of their table that were not timed follow as such."""
    kept = [(conditions, list(rows)) for conditions, rows in tables]
    homes = [rows for its, rows in kept if its.protocol == Protocol.STEADY]
    for rows in [rows for its, rows in kept if its.protocol == Protocol.ACCURACY]:
        passes = []
        for home in homes:
            for place, timed in enumerate(home):
                for record in [row for row in rows if _is_pass_of(row, timed)]:
                    home[place] = _with_figures_of(record, timed)
                    passes.append((record, home))
        if not passes:
            continue
        home = passes[0][1]
        there = {row.model.label for row in home}
        home.extend(row for row in rows if row.model.label not in there)
        home.sort(key=_order)
        folded = {id(record) for record, _ in passes}
        rows[:] = [row for row in rows if row.model.label in there and row.complete and id(row) not in folded]
    return [table for table in kept if table[1]]


def _best(records: Sequence[Record]) -> Record:
    """Return the record of a model that counts: the newest complete one, unless one made alike holds more."""
    complete = [record for record in records if record.complete]
    newest = max(complete or records, key=lambda record: record.started_at)
    # None is lost by a run that took fewer.
    alike = [record for record in complete if _are_alike(record, newest)]
    return max(alike or [newest], key=lambda record: (len(record.means), record.started_at))


def _are_alike(record: Record, other: Record) -> bool:
    """Tell whether figures are the same as far as both have them: those of one making are, but for times."""
    return not is_timed(record) and record.complete and _made_of(record) == _made_of(other)


def _made_of(record: Record) -> tuple:
    """Return what decides figures besides times; of older records, which lack its key, what comes nearest to it."""
    if record.figures_key:
        return (record.figures_key,)
    return record.model.source_sha256, record.environment.torch, tuple(image.name for image in record.images)


def _order(record: Record) -> tuple[int, str]:
    return record.model.id, record.model.label


def _by_model(records: Iterable[Record]) -> list[tuple[tuple, list[Record]]]:
    """Return the records of each model under each conditions, labels told apart; by conditions, then by id."""
    records = list(records)
    names = _sets_apart(records)

    def place(record: Record) -> tuple:
        conditions = replace(conditions_of(record), dataset=names[record.dataset.identity])
        return conditions, *_order(record)

    ordered = sorted(distinct(records), key=place)
    return [(key, list(group)) for key, group in groupby(ordered, key=place)]


def _sets_apart(records: Sequence[Record]) -> dict[tuple[str, str | None], str]:
    """Return what each set is called: its name, and where sets of other images have that name, their hash."""
    sets = {record.dataset.identity for record in records}
    known = Counter(name for name, sha256 in sets if sha256)
    return {
        (name, sha256): f"{name} ({sha256[:SHOWN_OF_A_HASH]})" if sha256 and known[name] > 1 else name
        for name, sha256 in sets
    }
