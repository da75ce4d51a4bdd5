"""``python -m eval compare``: two models, two folders of records, or two published results, and what is settled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eval.cli import flags
from eval.cli.terminal import Terminal
from eval.config import Protocol, RunConfig, split
from eval.errors import RunError, UsageError
from eval.files import is_of_variable
from eval.ranking.comparison import Comparison, Side, compare_sides
from eval.ranking.from_results_json import read_results
from eval.records.conditions import manner_of
from eval.records.current import current
from eval.records.store import RECORDS_FOLDER, find_records
from eval.report.comparison import comparison_table, sentences, write_comparison
from eval.report.renderers import to_terminal

if TYPE_CHECKING:
    from eval.cli.running import Asked
    from eval.run.model_source import ModelSource

REPEATS = 40
Sides = dict[tuple[str, str], Side]
Named = Annotated[
    str,
    typer.Argument(
        help="A model (id or name, FILE.py:NAME, or CHECKOUT:ENTRY), a folder of records, or a results.json."
    ),
]


@flags.configured("device", "engine", "precision", "tile", "threads", "preset", "seed", protocol=Protocol.STEADY)
def compare(
    first: Named,
    second: Named,
    config: RunConfig,
    data_dir: flags.DataDir = None,
    datasets: flags.Datasets = None,
    checkpoint: flags.Checkpoint = None,
    data_range: flags.DataRange = None,
    more: flags.More = None,
    model_args: flags.ModelArgs = None,
    weights_key: flags.WeightsKey = None,
    sandbox: flags.Sandbox = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", min=1, help=f"Number of repeats of the A/A test. Default: {REPEATS}.")
    ] = None,
    save_dir: flags.SaveDir = flags.DEFAULT_SAVE_DIR,
) -> None:
    """Compare PSNR and runtime of two models, with 95% intervals. The same model given twice is an A/A test."""
    kinds = {_kind(name) for name in (first, second)}
    if len(kinds) > 1:
        given = " and ".join(f"{name} ({_kind(name)})" for name in (first, second))
        raise UsageError(f"expected two models, two folders of records, or two results.json; got {given}")
    (kind,) = kinds
    of_a_file = {"--checkpoint": checkpoint, "--data_range": data_range, "--model_args": model_args}
    of_a_file |= {"--weights_key": weights_key, "--with": more}
    if kind != "model":
        others = {"--data_dir": None if is_of_variable(data_dir) else data_dir}
        others |= {"--sandbox": sandbox, "--repeats": repeats}
        why = "has an effect only when models are run, not when records or results.json are compared; leave this out"
        plain = RunConfig(protocol=Protocol.STEADY)
        settings = {f"--{name}": value for name, value in config if value != getattr(plain, name)}
        flags.refuse_idle(settings | of_a_file | others, why)
    if read := {"records": _of_records, "published": _published}.get(kind):
        _tell(_pairs(read(Path(first)), read(Path(second)), (first, second), split(datasets)), save_dir)
    else:
        from eval.cli.running import Asked

        if not any(".py:" in name for name in (first, second)):
            flags.refuse_idle(of_a_file, "only with a model of a file, FILE.py:NAME; leave this out")
        if not any(":" in name for name in (first, second)):
            flags.refuse_idle({"--sandbox": sandbox}, "only with a model of a file or of a checkout; leave this out")
        asked = Asked(None, (), None, checkpoint, data_range, more or (), model_args, weights_key, sandbox=sandbox)
        sources = {name: _source(name, asked) for name in (first, second)}
        _compare_models(sources, config, (data_dir, split(datasets) or [None]), repeats, save_dir)


def _kind(name: str) -> str:
    """Tell what an argument names; a folder that is called like a model of the zoo is meant if it holds records."""
    from eval.zoo.manifest import find_model

    path = Path(name)
    if not path.is_dir():
        return "published" if path.suffix == ".json" else "model"
    if any(path.glob("*.json")) or any((path / RECORDS_FOLDER).glob("*.json")):
        return "records"
    try:
        find_model(name)
    except UsageError:
        return "records"
    return "model"


def _source(name: str, asked: "Asked") -> "ModelSource":
    """Return the model that an argument means; ``asked`` has the flags for one of a file."""
    from eval.run.model_source import zoo_model
    from eval.third_party.choosing import choose_submissions, read_checkouts
    from eval.third_party.kinds import choose_sandbox
    from eval.third_party.submission import Rules
    from eval.zoo.manifest import find_model

    place, _, entry = name.rpartition(":")
    if place.endswith(".py"):
        return asked.of_a_file(name, Rules(choose_sandbox(asked.sandbox)))
    if place:
        found = choose_submissions(read_checkouts([Path(place)]), [entry], Rules(choose_sandbox(asked.sandbox)))
        if len(found) != 1:
            raise UsageError(
                f"{name}: expected one entry, found {len(found)}; `eval models --checkout {place}` lists the ids"
            )
        return found[0]
    return zoo_model(find_model(name))


def _compare_models(
    named: "dict[str, ModelSource]",
    config: RunConfig,
    images: tuple[Path | None, Sequence[str | None]],
    repeats: int | None,
    save_dir: Path,
) -> None:
    """Time two models together, or one against itself."""
    from eval.cli.aa import against_itself
    from eval.cli.running import check_for_submissions, check_openings
    from eval.cli.session import Session
    from eval.run.launch import Launch
    from eval.third_party.zoo_worker import on_one_clock
    from eval.zoo.model_info import ZOO

    sources = on_one_clock(list(named.values()))
    if any(source.info.origin != ZOO for source in sources):
        check_for_submissions(config)
    itself = len({source.info.model_dump_json() for source in sources}) == 1
    if repeats is not None and not itself:
        raise UsageError(f"--repeats {repeats}: only for a model that is compared with itself")
    if itself and len(images[1]) > 1:
        raise UsageError(f"--datasets {','.join(map(str, images[1]))}: a model is timed against itself on one set")
    session = Session(config, save_dir, Launch(redo=False, force=True))
    opened = session.open(*images)
    check_openings(session.terminal, opened, sources)
    if itself:
        against_itself(session, sources[0], opened[0], repeats or REPEATS)
        return
    found = []
    for dataset in opened:
        before = len(session.records)
        records = session.run(sources, [dataset])[before:]
        if failed := [record for record in records if not record.complete]:
            raise RunError("; ".join(f"{record.model.label}: {record.outcome}" for record in failed))
        found.append(_compared(list(map(Side.of_record, records)), list(named)))
    session.terminal.table(session.records)
    _tell(found, save_dir)


def _of_records(folder: Path) -> Sides:
    """Return the complete records of a folder that count, by set and model; timed ones before untimed ones.

    Models of another precision, engine or TF32 than the usual one are others, and their labels say so.
    """
    sides: Sides = {}
    records = find_records([folder])
    for conditions, rows in current(records):
        for record in (row for row in rows if row.complete):
            manner = f" ({', '.join(manner_of(record))})" if manner_of(record) else ""
            key = (conditions.dataset, record.model.label + manner)
            side, other = Side.of_record(record, records), sides.get(key)
            if other is not None and other.samples_ms is not None and side.samples_ms is not None:
                where = f"{other.machine} and {side.machine}"
                raise RunError(
                    f"{folder}: {key[1]} on {key[0]} was timed on {where}; give folders that hold one of them"
                )
            if other is None or record.timing is not None:
                sides[key] = replace(side, label=side.label + manner)
    if not sides:
        raise RunError(
            f"{folder}: expected at least one complete record, found none; run models with --save_dir {folder} first"
        )
    return sides


def _published(file: Path) -> Sides:
    return {
        (role, name): Side.of_published(name, result, role, str(file))
        for name, result in read_results(file).items()
        for role in result.roles
    }


def _pairs(first: Sides, second: Sides, names: tuple[str, str], datasets: Sequence[str]) -> list[Comparison]:
    """Compare what two places hold: their only models, or else those that both have, set by set."""
    sets = [name for name in dict.fromkeys(key[0] for key in first) if name in {key[0] for key in second}]
    if lacking := [name for name in datasets if name not in sets]:
        known = f"choose from: {', '.join(sets)}" if sets else "they have no set in common"
        raise UsageError(f"--datasets {','.join(lacking)}: not in both places; {known}")
    found = []
    for dataset in [name for name in sets if not datasets or name in datasets]:
        ours, theirs = (
            {label: side for (name, label), side in its.items() if name == dataset} for its in (first, second)
        )
        if len(ours) == len(theirs) == 1:
            couples = [(*ours.values(), *theirs.values())]
        else:
            couples = [(ours[label], theirs[label]) for label in ours if label in theirs]
        found += [_compared(couple, names) for couple in couples]
    if not found:
        listings = [", ".join(sorted({f"{label} on {name}" for name, label in its})) for its in (first, second)]
        raise RunError(f"nothing to compare: {names[0]} holds {listings[0]}; {names[1]} holds {listings[1]}")
    return found


def _compared(couple: Sequence[Side], names: Sequence[str]) -> Comparison:
    """Compare two models; of one label each is called by what it was named by, too."""
    if len({side.label for side in couple}) == 1:
        couple = [replace(side, label=f"{side.label} of {name}") for side, name in zip(couple, names, strict=True)]
    return compare_sides(*couple)


def _tell(found: Sequence[Comparison], save_dir: Path) -> None:
    terminal = Terminal()
    terminal.show(to_terminal(comparison_table(found)))
    for sentence in sentences(found):
        terminal.say(sentence)
    terminal.say(f"written: {', '.join(map(str, write_comparison(found, save_dir)))}")
