"""The table of all years as a page and a CSV, beside the plot."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.all_years_orders import Compared, compare_orders
from bench.all_years_plot import draw_fronts
from bench.all_years_rows import NOT_YET, Cost, Row, Year, by_year, giga_flops_of, ratio_of
from eval.report.columns import COLUMNS
from eval.report.escapes import markdown_text
from eval.report.renderers import to_csv, to_markdown
from eval.report.table import NONE, Cell, Figure, Table
from eval.report.tables import write_files
from eval.words import visible

NAME = "all-years"
_COMMAND = "python -m bench.all_years --checkouts DIR --data_dir DIR"
# Levels of PSNR on Set14 that the fastest and the lightest entry of each year are looked for at.
_LEVELS_DB = (26.5, 26.6, 26.7, 26.8, 26.9)
# Flags of FLOPs that do not show all of the work.
_UNCOUNTED = {"bound", "counters", "operators"}
_RECORD_COLUMNS = {figure.key: figure for figure in COLUMNS}


def _of(figure_key: str, dataset: str = "set14", **changed: Any) -> Figure:
    """Return the column of a figure of a row's record of a set."""
    figure = _RECORD_COLUMNS[figure_key]

    def value(row: Row) -> object:
        record = getattr(row, dataset)
        return figure.of(record) if record is not None and record.complete else None

    # All are measured alike, and the page marks none.
    return replace(figure, of=value, measure=None, **changed)


def _dispatched(row: Row) -> int | None:
    complexity = row.set14.complexity if row.set14 and row.ran else None
    return complexity.flops_by_dispatcher if complexity else None


def _text(key: str, title: str, of: Callable[[Row], str]) -> Figure:
    return Figure(key, title, left=True, of=of)


FIGURES = (
    Figure("year", "Year", of=lambda row: row.year),
    _text("team", "Team", lambda row: row.team),
    _text("entry", "Entry", lambda row: row.label),
    _of("psnr_db", key="psnr_set14_db", title="PSNR Set14", decimals=3),
    _of("psnr_db", "urban100", key="psnr_urban100_db", title="PSNR Urban100", decimals=3),
    _of("ratio", title="Time"),
    _of("num_params"),
    _of("flops"),
    replace(_RECORD_COLUMNS["flops"], key="flops_by_dispatcher", title="FLOPs, torch's", of=_dispatched),
    _of("flops_by_hooks"),
    _text("flags", "Flags", lambda row: ", ".join(row.flags)),
    _text("state", "State", lambda row: row.state),
    _text("missing", "What was missing", lambda row: row.missing),
)
# For machines alone.
_MORE = (
    Figure("id", "", of=lambda row: row.id),
    Figure("torch", "", of=lambda row: row.set14 and row.set14.environment.torch),
    Figure("machine", "", of=lambda row: row.set14 and row.set14.environment.machine),
    Figure("date", "", of=lambda row: row.set14 and f"{row.set14.started_at:%Y-%m-%d}"),
)


def why_not(row: Row, key: str) -> str:
    """Return why a row has no figure in a column, in a few words."""
    if not row.ran or key == "flops_by_hooks":
        return NONE
    if key == "psnr_urban100_db":
        tried = row.urban100.outcome if row.urban100 else NOT_YET
        return tried if row.of_first_ten else NONE
    return (row.untimed or "not timed here yet") if key == "ratio" else "not counted"


def table_of(rows: Sequence[Row]) -> Table:
    """Return the table of entries, in which a cell without a figure says why."""

    def told(row: Row, column: Figure) -> Cell:
        cell = column.cell(row)
        return cell if cell.value is not None else Cell(why_not(row, column.key))

    return Table(FIGURES, tuple(tuple(told(row, column) for column in FIGURES) for row in rows))


def write_page(parts: Sequence[Year], out: Path) -> list[Path]:
    """Write all-years.md, .csv and, where anything can be drawn, .svg into a folder; a year may come in parts."""
    years = by_year(parts)
    rows = [row for year in years for row in year.rows]
    page = "\n\n".join(filter(None, _sections(years, _absent(parts)))) + "\n"
    written = write_files(out, {f"{NAME}.md": page, f"{NAME}.csv": to_csv(Table.unrounded((*FIGURES, *_MORE), rows))})
    if any(row.ratio or row.flops for row in rows):
        written.append(out / f"{NAME}.svg")
        draw_fronts(years, written[-1])
    return written


def _sections(years: Sequence[Year], absent: Sequence[str]) -> list[str]:
    rows = [row for year in years for row in year.rows]
    timed = any(row.ratio for row in rows)
    least = "The least {} of a year for a PSNR on Set14, {}:"
    times = least.format("time", "as a ratio to RLFN's")
    flops = least.format("FLOPs", "in G; a star where a flag says that not all work is counted")
    return [
        "# The entries of the challenges of 2022 to 2026\n\n" + _head(rows),
        to_markdown(Table.headed(_COUNTS, map(_counts, years))),
        "\n".join(absent),
        "## What the years brought",
        _levels(times, years, _time_cell, ratio_of) if timed else "",
        _levels(flops, years, _flops_cell, giga_flops_of),
        f"![PSNR on Set14 against {'time' if timed else 'FLOPs'}, and the front of each year]({NAME}.svg)",
        "## Where the order differs from the published one",
        _orders(years),
        "## The entries",
        to_markdown(table_of(rows)),
        _legend(),
    ]


def _head(rows: Sequence[Row]) -> str:
    records = [row.set14 for row in rows if row.set14]
    days = sorted({f"{record.started_at:%Y-%m-%d}" for record in records})
    versions = sorted({f"torch {record.environment.torch}" for record in records})
    when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "not run yet"
    return (
        f"`{_COMMAND}`, {when}, on {_where(rows)}, {', '.join(versions)}; entries in sandboxes "
        f"([how](../submissions.md)). {sum(row.ran for row in rows)} of {len(rows)} entries ran, "
        f"{sum(bool(row.ratio) for row in rows)} were timed. All figures, unrounded: [{NAME}.csv]({NAME}.csv)."
    )


def _where(rows: Sequence[Row]) -> str:
    """Return the machine of the times; of several how many each has, for times of two do not make one order."""
    timed = [row for row in rows if row.ratio] or rows
    machines = Counter(visible(row.set14.environment.machine) for row in timed if row.set14)
    if len(machines) < 2:
        return next(iter(machines), "no machine yet")
    told = "; ".join(f"{name}: {count} entries" for name, count in machines.most_common())
    return f"{len(machines)} machines, whose times do not make one order ({told}; the CSV tells which)"


_COUNTS = ("Year", "entries", "ran", "on Urban100", "timed", "missing checkpoint", "withheld", "otherwise not run")


def _counts(year: Year) -> list[int]:
    states = [row.state for row in year.rows]
    named = [states.count(state) for state in ("missing checkpoint", "withheld")]
    ran = sum(row.ran for row in year.rows)
    done = sum(row.urban100 is not None and row.urban100.complete for row in year.rows)
    timed = sum(bool(row.ratio) for row in year.rows)
    return [year.edition.year, len(states), ran, done, timed, *named, len(states) - ran - sum(named)]


def _absent(parts: Sequence[Year]) -> list[str]:
    return [
        f"- {part.edition.year}: the checkout was not at hand; only entries on record are shown (`git clone "
        f"{part.edition.repository} {part.edition.folder}`)."
        for part in parts
        if not part.is_here
    ]


def _time_cell(row: Row) -> str:
    return f"{ratio_of(row):.2f}, {_short(row)}"


def _flops_cell(row: Row) -> str:
    star = "*" if _UNCOUNTED & set(row.flags) else ""
    return f"{giga_flops_of(row):.2f}{star}, {_short(row)}"


def _levels(title: str, years: Sequence[Year], cell: Callable[[Row], str], cost: Cost) -> str:
    """Return a table of the least cost at each level of PSNR, with the entry that has it."""
    lines = []
    for year in years:
        front = year.front(cost)
        at = (next((row for row in front if (row.psnr_db or 0) >= level), None) for level in _LEVELS_DB)
        lines.append([str(year.edition.year), *(cell(row) if row else NONE for row in at)])
    heads = ["Year", *(f"{level:.2f} dB" for level in _LEVELS_DB)]
    return f"{title}\n\n{to_markdown(Table.headed(heads, lines, names=len(heads)))}"


def _short(row: Row) -> str:
    return visible(row.label.partition("-")[2])


def _orders(years: Sequence[Year]) -> str:
    """Return what is known of each year's published order, and a table of the entries whose place differs."""
    lines, found = [], []
    for year in years:
        compared = compare_orders(year)
        found += [its for its in compared if its.words]
        words = "no entry of its order was timed here yet"
        if not year.edition.published:
            words = "no ranking was published in a form that could be read"
        elif compared:
            moved = [its.words for its in compared if its.words]
            words = (
                f"of {len(compared)} entries that are in both orders {len(moved)} have another place here, "
                f"{moved.count('differs')} of them beyond what the intervals of times leave open"
            )
        lines.append(f"- {year.edition.year} ({markdown_text(year.edition.source)}): {words}.")
    parts = ["Both by the rules of the year's main track, among the entries that are in both.", "\n".join(lines)]
    if found:
        parts.append(to_markdown(Table.headed(_ORDERS, map(_order, found), names=2)))
    return "\n\n".join(parts)


_ORDERS = ("Entry", "Team", "published", "here", "possible here (95%)", "")


def _order(its: Compared) -> list[str]:
    span = str(its.first) if its.first == its.last else f"{its.first}-{its.last}"
    return [its.row.label, its.row.team, str(its.published), str(its.here), span, its.words]


def _legend() -> str:
    lines = [
        "A dash: the entry did not run, and State says why; or the figure was not asked for.",
        "PSNR: RGB, 8 bits, 4-pixel border, mean over images. On Urban100 the first ten of a year that ran, in "
        "the orders named above; of 2023 all.",
        "Time: protocol steady, preset rapid, on Set14, as a ratio to RLFN's with its 95% interval; entries were timed "
        "in groups of ten beside RLFN, those of 2023 one by one.",
        "FLOPs are multiply-adds of one 256x256 input: by fvcore, by torch's own dispatcher, and for 2022 by the "
        "counter that the challenge used then.",
        "Params, FLOPs and flags are told by the entry's own process ([what that means]"
        "(../submissions.md#fair-figures)).",
        "2023: its repository is not public any more; these are the entries of those forks and teams' own copies that "
        "were found, and a checkpoint that needs --trust is not opened. Id 00 is DIPNet, in a copy without numbers.",
        "Team: a number where the organisers' table does not tell names.",
    ]
    return "\n".join(f"- {line}" for line in lines)
