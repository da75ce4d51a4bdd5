"""What the table of all years is made of: editions, their entries, the records that count, and fronts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from eval.frozen import Frozen
from eval.records.current import current
from eval.records.record import Record
from eval.report.papers.figures import front_of
from eval.report.selection import state_of
from eval.third_party.checkout import read_checkout
from eval.timing.samples import Ratio
from eval.toml_files import read_toml

SET14, URBAN100 = "Set14", "Urban100"
_TEN = 10
_STAND_IN = " is not installed: stand-in"
WITHHELD, NOT_YET = "withheld", "not run here yet"


# An address that ends in OWNER/NAME.
Repository = Annotated[str, Field(pattern=r"[^/]/[^/]+/[^/]+$")]


class Fork(Frozen):
    """A repository that holds one team's entry of a year: which id, and in which folder if not at the top."""

    repository: Repository
    id: int
    inside: Annotated[str, Field(pattern=r"^[^./]*$")] = ""


class Edition(Frozen):
    """One table of all_years.toml, which explains each key; or of one with forks, the part that is one fork's."""

    year: int
    repository: Repository | None = None
    forks: tuple[Fork, ...] = ()
    order: tuple[int, ...]
    source: str
    published: bool
    slow: tuple[int, ...] = ()
    teams: dict[int, str] = {}

    @model_validator(mode="after")
    def _is_somewhere(self) -> "Edition":
        if not self.forks and not self.repository:
            raise ValueError(f"{self.year}: give a repository, or forks")
        if len({fork.id for fork in self.forks}) < len(self.forks):
            raise ValueError(f"{self.year}: two forks hold one id")
        return self

    @property
    def folder(self) -> str:
        """What a clone of the repository is called: NAME, or OWNER-NAME for a fork, since forks share names."""
        assert self.repository is not None
        owner, name = self.repository.split("/")[-2:]
        return f"{owner}-{name}" if self.forks else name

    @property
    def checkout(self) -> Path:
        """Where in the folder of all clones its entries are."""
        return Path(self.folder, *(fork.inside for fork in self.forks))

    def holds(self, entry_id: int) -> bool:
        """Tell whether an entry is to run from here: of a fork only its team's, for each repeats the baseline."""
        return not self.forks or entry_id == self.forks[0].id

    def by_repository(self) -> Iterator["Edition"]:
        """Yield it, or a part of it for each fork."""
        for fork in self.forks:
            yield self.model_copy(update={"repository": fork.repository, "forks": (fork,)})
        if not self.forks:
            yield self


class _Editions(BaseModel):
    edition: tuple[Edition, ...]


def read_all(path: Path) -> tuple[Edition, ...]:
    """Read a file of editions; each fork is an edition of its own.

    Raises:
        RunError: it does not have the form that all_years.toml explains.
    """
    return tuple(part for edition in read_toml(path, _Editions).edition for part in edition.by_repository())


@dataclass(frozen=True)
class Row:
    """One entry: what is known of it, and why the rest is not.

    Attributes:
        set14, urban100: the records that count; None where there is none.
        of_first_ten: whether it is to run on Urban100.
        withheld: its branch of ``select_model`` is empty.
        untimed: why its time could not be taken, where that was tried.
    """

    year: int
    id: int
    team: str
    label: str
    set14: Record | None = None
    urban100: Record | None = None
    of_first_ten: bool = False
    withheld: bool = False
    untimed: str | None = None

    @property
    def ran(self) -> bool:
        """Tell whether it ran on Set14."""
        return self.set14 is not None and self.set14.complete

    @property
    def state(self) -> str:
        """That it ran, or in a few words why not."""
        if self.set14 is not None:
            return state_of(self.set14)
        return WITHHELD if self.withheld else NOT_YET

    @property
    def missing(self) -> str:
        """What it lacked: why it did not run, or what stood in for it."""
        if self.set14 is None:
            return "its branch of select_model is empty" if self.withheld else ""
        return ", ".join(_stand_ins(self.set14)) if self.ran else (self.set14.reason or "")

    @property
    def ratio(self) -> Ratio | None:
        """Its time as a ratio to the reference's."""
        timing = self.set14.timing if self.set14 and self.ran else None
        return timing.ratio if timing else None

    @property
    def psnr_db(self) -> float | None:
        """Its PSNR on Set14."""
        return self.set14.mean("psnr_db") if self.set14 and self.ran else None

    @property
    def flags(self) -> tuple[str, ...]:
        """What its figures do not show, in one word each."""
        return tuple(dict.fromkeys(its.code for its in self.set14.flags)) if self.set14 else ()

    @property
    def flops(self) -> int | None:
        """Its multiply-adds by fvcore."""
        return self.set14.complexity.flops if self.set14 and self.ran and self.set14.complexity else None


def ratio_of(row: Row) -> float | None:
    """Return a row's time as a ratio to the reference's."""
    return row.ratio.estimate if row.ratio else None


def giga_flops_of(row: Row) -> float | None:
    """Return a row's FLOPs by fvcore, in G."""
    return row.flops / 1e9 if row.flops else None


Cost = Callable[[Row], float | None]


@dataclass(frozen=True)
class Year:
    """One year, or a fork's part: its edition, whether its checkout is here, which ids have an entry, its rows."""

    edition: Edition
    is_here: bool
    ids: tuple[int, ...]
    rows: tuple[Row, ...]

    @cached_property
    def ran(self) -> frozenset[int]:
        """The ids of entries that ran on Set14."""
        return frozenset(row.id for row in self.rows if row.ran)

    @cached_property
    def first_ten(self) -> tuple[int, ...]:
        """The ids of the first ten of the edition's order that ran."""
        return tuple([one for one in self.edition.order if one in self.ran][:_TEN])

    def front(self, cost: Cost) -> list[Row]:
        """Return the rows that no other of the year beats in both a cost and PSNR, by cost."""
        known = [(its, row.psnr_db, row) for row in self.rows if (its := cost(row)) is not None and row.psnr_db]
        return [known[place][2] for place in front_of([its for its, *_ in known], [db for _, db, _ in known])]


def gather(edition: Edition, checkout: Path, records: Iterable[Record]) -> Year:
    """Return what is known of a year: of each entry of its checkout, and of each that has a record."""
    listed = read_checkout(checkout).entries if checkout.is_dir() else []
    entries = {its.id: its for its in listed if edition.holds(its.id)}
    ours = (its for its in records if its.model.origin == f"NTIRE{edition.year}" and edition.holds(its.model.id))
    counting = [record for _, group in current(ours) for record in group]
    rows = []
    for one in sorted(entries.keys() | {record.model.id for record in counting}):
        entry, its = entries.get(one), [record for record in counting if record.model.id == one]
        label, team = entry.label if entry else its[0].model.label, edition.teams.get(one, f"{one:02}")
        # Behind it stand the processes that were to blame.
        untimed = next((each.outcome.partition(" (")[0] for each in its if each.timing and not each.complete), None)
        withheld = entry is not None and entry.is_placeholder
        best = (_best(its, name) for name in (SET14, URBAN100))
        rows.append(Row(edition.year, one, team, label, *best, withheld=withheld, untimed=untimed))
    ids = tuple(one for one, its in entries.items() if not its.is_placeholder)
    year = Year(edition, checkout.is_dir(), ids, tuple(rows))
    return replace(year, rows=tuple(replace(row, of_first_ten=row.id in year.first_ten) for row in rows))


def by_year(parts: Iterable[Year]) -> list[Year]:
    """Return one year for all parts of it, its rows by id."""
    years: dict[int, list[Year]] = {}
    for part in parts:
        years.setdefault(part.edition.year, []).append(part)
    return [
        Year(
            edition=parts_of_year[0].edition,
            is_here=all(part.is_here for part in parts_of_year),
            ids=tuple(one for part in parts_of_year for one in part.ids),
            rows=tuple(sorted((row for part in parts_of_year for row in part.rows), key=lambda row: row.id)),
        )
        for parts_of_year in years.values()
    ]


def _best(records: Sequence[Record], dataset: str) -> Record | None:
    """Return the record of a set that counts: a complete one, with times if there is one, the newest."""
    fitting = (its for its in records if its.dataset.name == dataset)
    return max(fitting, key=lambda its: (its.complete, its.timing is not None, its.started_at), default=None)


def _stand_ins(record: Record) -> list[str]:
    """Return the packages that something stood in for, and files that lay elsewhere; shims for CUDA are no lack."""
    packages = [f"{its.removesuffix(_STAND_IN)} (stand-in)" for its in record.model.shims if its.endswith(_STAND_IN)]
    return packages + [its for its in record.model.shims if its.startswith("checkpoint found")]
