"""The one table: columns with units, decimals and direction, rows of cells. ``renderers`` writes it in every form."""

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Value = float | int | str | None
BEST, SECOND = "best", "second"
NONE = "-"
_HUGE = 1e6


@dataclass(frozen=True)
class Column:
    """How the figures or texts of one column are headed and printed.

    Attributes:
        key: its name in CSV.
        unit: stands in brackets behind the title.
        scale: divides a figure before it is printed.
        higher_is_better: None where a figure only describes.
        left: whether it is aligned to the left, as names are.
        wraps: whether a narrow terminal may break its cells too, as it may those of the left.
    """

    key: str
    title: str
    unit: str = ""
    decimals: int = 0
    scale: float = 1
    higher_is_better: bool | None = None
    left: bool = False
    wraps: bool = False

    @property
    def heading(self) -> str:
        """Title and unit in one line."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def text(self, value: Value) -> str:
        """Return a figure in the column's unit and decimals, a text as it is, and a dash for None."""
        if value is None or isinstance(value, str):
            return NONE if value is None else value
        return number(value / self.scale, self.decimals)


def number(value: float | None, decimals: int = 2) -> str:
    """Return a rounded figure, a huge one in powers of ten; a dash for None."""
    return NONE if value is None else f"{value:.3e}" if value >= _HUGE else f"{value:.{decimals}f}"


@dataclass(frozen=True)
class Cell:
    """What one cell prints, and its unrounded value in base units.

    Attributes:
        mark: ``BEST``, ``SECOND`` or nothing.
        rank: its place in the column, which LaTeX prints as a subscript.
        measure: how it was taken, where that can differ; unlike ones say nothing of each other.
    """

    text: str
    value: Value = None
    mark: str = ""
    rank: int | None = None
    measure: Hashable = None

    @property
    def sorted_by(self) -> Value:
        """The value as a page's scripts read it: they call infinity by its whole name."""
        return "Infinity" if self.value == math.inf else self.value


@dataclass(frozen=True)
class Figure(Column):
    """A column that takes its values from what a row is about, such as a record; ``of`` returns one.

    ``measure`` returns how it was taken, where that can differ.
    """

    of: Callable[[Any], Any] = field(kw_only=True)
    measure: Callable[[Any], Hashable] | None = field(kw_only=True, default=None)

    def cell(self, item: Any) -> Cell:
        """Return an item's cell."""
        value = self.of(item)
        return Cell(self.text(value), value, measure=self.measure and self.measure(item))

    def csv(self, item: Any) -> dict[str, Value]:
        """Return the unrounded figures, in base units, under their names in CSV."""
        return {self.key: self.of(item)}


@dataclass(frozen=True)
class Table:
    """Columns, and one cell a column in every row."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, columns: Iterable[Column], rows: Iterable[Iterable[Value]]) -> "Table":
        """Make a table of values or texts."""
        columns = tuple(columns)
        return cls(columns, tuple(tuple(Cell(c.text(v), v) for c, v in zip(columns, row, strict=True)) for row in rows))

    @classmethod
    def headed(cls, titles: Iterable[str], rows: Iterable[Iterable[Value]], names: int = 0) -> "Table":
        """Make a table whose columns are known by their titles alone; the first ``names`` of them hold names."""
        columns = (Column(its, its, left=place < names) for place, its in enumerate(titles))
        return cls.of(columns, rows)

    @classmethod
    def about(cls, figures: Iterable[Figure], items: Iterable[Any]) -> "Table":
        """Make a table with one row an item."""
        figures = tuple(figures)
        return cls(figures, tuple(tuple(figure.cell(item) for figure in figures) for item in items))

    @classmethod
    def unrounded(cls, figures: Iterable[Figure], items: Iterable[Any]) -> "Table":
        """Make the table that CSV holds: one row an item, each unrounded figure under its own name."""
        figures = tuple(figures)
        rows = [{key: value for figure in figures for key, value in figure.csv(item).items()} for item in items]
        return cls.headed(rows[0] if rows else (figure.key for figure in figures), [row.values() for row in rows])

    def chosen(self, keys: Collection[str]) -> "Table":
        """Return the table with only the columns of the given keys, in its own order."""
        places = [place for place, column in enumerate(self.columns) if column.key in keys]
        columns = tuple(self.columns[place] for place in places)
        return Table(columns, tuple(tuple(row[place] for place in places) for row in self.rows))

    def marked(self, least: int = 1, judged: Sequence[bool] | None = None) -> "Table":
        """Return the table with the best and the second figure marked of each column with ``least`` different ones.

        ``judged`` tells which rows take part; all do by default. Figures of unlike measures have no marks.
        """
        judged = judged or [True] * len(self.rows)
        columns = []
        for place, column in enumerate(self.columns):
            cells = [row[place] for row in self.rows]
            values = [cell.value if its else None for cell, its in zip(cells, judged, strict=True)]
            alike = are_alike(cell for cell, its in zip(cells, judged, strict=True) if its)
            marks = best_and_second(values, column.higher_is_better if alike else None, least)
            columns.append([replace(cell, mark=mark) for cell, mark in zip(cells, marks, strict=True)])
        # Of a table without columns the rows are there, too.
        return Table(self.columns, tuple(zip(*columns, strict=True)) if columns else self.rows)


def are_alike(cells: Iterable[Cell]) -> bool:
    """Tell whether all figures of a column were taken by one measure."""
    return len({cell.measure for cell in cells if cell.value is not None}) < 2


def best_and_second(values: Sequence[Value], higher_is_better: bool | None, least: int = 1) -> list[str]:
    """Return each value's mark: equal ones share it; None has none, nor have fewer than ``least`` different ones."""
    different = sorted({value for value in values if value is not None}, reverse=higher_is_better is True)
    if higher_is_better is None or len(different) < least:
        return [""] * len(values)
    marks = dict(zip(different, (BEST, SECOND), strict=False))
    return ["" if value is None else marks.get(value, "") for value in values]
