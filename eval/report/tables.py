"""Tables of records as files: CSV, Markdown and LaTeX, beside the template's results.txt."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.files import write_whole
from eval.records.conditions import Conditions, unusual_of
from eval.records.current import Group, complete_ones, current, failures
from eval.records.record import Record
from eval.records.store import RECORDS_FOLDER, read_records
from eval.report.columns import LABEL, SET, columns_of, filled_columns, flag_notes, legend
from eval.report.escapes import latex, markdown_text
from eval.report.headline import Headline
from eval.report.renderers import to_csv, to_latex, to_markdown
from eval.report.selection import edition_of
from eval.report.table import Figure, Table
from eval.report.template import finished, template_tables
from eval.words import counted, visible

Headlines = Mapping[Conditions, Headline]
# What stands before the figures in CSV.
_DESCRIBED = tuple(
    Figure(key, key, of=of)
    for key, of in {
        "model": lambda record: record.model.label,
        "dataset": lambda record: record.dataset.name,
        "num_images": lambda record: record.dataset.num_images,
        "protocol": lambda record: record.settings.protocol.value,
        "device": lambda record: record.settings.device,
        "machine": lambda record: record.environment.machine,
        "engine": lambda record: record.settings.engine,
        "precision": lambda record: record.settings.precision,
        "tile": lambda record: record.settings.tile,
        "other_settings": lambda record: ", ".join(unusual_of(record)) or None,
        "checkpoint": lambda record: record.model.checkpoint or record.model.weights_file,
        "weights_sha256": lambda record: record.model.weights_sha256,
        "model_id": lambda record: None if record.model.is_own else record.model.id,
        "team": lambda record: record.model.team,
        "edition": edition_of,
        "scale": lambda record: record.model.scale,
        "torch": lambda record: record.environment.torch,
        "date": lambda record: f"{record.started_at:%Y-%m-%d}",
    }.items()
)


def write_tables(save_dir: Path, valid: str, test: str | None, headlines: Headlines | None = None) -> list[Path]:
    """Write results.txt, results.csv and leaderboard.md beside the records of ``save_dir``, from these.

    ``valid`` and ``test`` are the sets of results.txt's columns; without ``test`` there are none, as in the template.
    ``headlines`` stand in leaderboard.md.
    """
    records = read_records(save_dir / RECORDS_FOLDER)
    tables = current(records)
    contents = {
        "results.txt": template_tables(tables, valid, test),
        "results.csv": csv_table(complete_ones(tables)),
        "leaderboard.md": markdown_leaderboard(tables, failures(records), headlines),
    }
    return write_files(save_dir, contents)


def write_report(records: Sequence[Record], folder: Path, headlines: Headlines | None = None) -> list[Path]:
    """Write leaderboard.md, leaderboard.csv and leaderboard.tex of records; ``headlines`` stand in the first."""
    tables = current(records)
    parts = [
        # Visible ones have no end of a line, which would end the comment.
        f"% {latex(visible(its.dataset))}, {counted(rows[0].dataset.num_images, 'image')}, {its.protocol}, "
        f"{latex(visible(its.place))}\n{leaderboard(rows)}"
        for its, rows in finished(tables)
    ]
    contents = {
        "leaderboard.md": markdown_leaderboard(tables, failures(records), headlines),
        "leaderboard.csv": csv_table(complete_ones(tables)),
        "leaderboard.tex": "\n".join(parts),
    }
    return write_files(folder, contents)


def write_files(folder: Path, contents: dict[str, str]) -> list[Path]:
    """Write texts under their names into a folder, each whole or not at all."""
    for name, content in contents.items():
        write_whole(folder / name, content)
    return [folder / name for name in contents]


def csv_table(records: Sequence[Record]) -> str:
    """Return one line a record, figures unrounded and in base units (``flops`` in multiply-adds)."""
    return to_csv(Table.unrounded((*_DESCRIBED, *columns_of(records)), records))


def leaderboard(records: Sequence[Record]) -> str:
    """Return one table of records of one set, protocol and device for papers, its best figures marked."""
    networks = [record.model.is_network for record in records]
    return to_latex(Table.about((LABEL, *filled_columns(records)), records).marked(2, networks)) + "\n"


def markdown_leaderboard(
    groups: Sequence[Group], failed: Sequence[Record] = (), headlines: Headlines | None = None
) -> str:
    """Return leaderboard.md: a GitHub table for each set under each conditions, with its headline, if there is one.

    Its legend stands below each; what ``failed`` stands at the end. `run` and `report` write it to the same folder by
    default, so what one of them says the other must not leave out.
    """
    parts = ["# Results"]
    for conditions, rows in finished(groups):
        where = markdown_text(f"{conditions.protocol}, {conditions.place}")
        parts.append(
            f"## {markdown_text(conditions.dataset)} ({counted(rows[0].dataset.num_images, 'image')}, {where})"
        )
        if said := (headlines or {}).get(conditions):
            parts.append(" ".join((f"**{markdown_text(said.claim)}**", *map(markdown_text, said.details))))
        parts.append(to_markdown(Table.about((LABEL, *filled_columns(rows)), rows)))
        parts.append("\n".join(f"- {markdown_text(line)}" for line in (*legend(rows), *flag_notes(rows))))
    if failed:
        parts += ["## Did not run", to_markdown(failures_table(failed))]
    return "\n\n".join(parts) + "\n"


def failures_table(records: Sequence[Record]) -> Table:
    """Return one row a record that is not complete: its protocol, its state and why."""
    protocol = Figure("protocol", "Protocol", left=True, of=lambda record: record.settings.protocol.value)
    what = Figure("what", "What", left=True, of=lambda record: record.outcome.partition(": ")[0])
    why = Figure("why", "Why", left=True, of=lambda record: record.outcome.partition(": ")[2])
    return Table.about([LABEL, SET, protocol, what, why], records)
