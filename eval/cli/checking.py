"""``check``, carried out: entries are run, judged and shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from eval.cli.flags import refuse_idle
from eval.cli.running import Asked, check_openings
from eval.cli.terminal import Terminal
from eval.config import Protocol, RunConfig
from eval.data.datasets import Dataset, open_dataset
from eval.data.finding import SAMPLE, NoSuchSetError
from eval.errors import RunError, UsageError, one_reason
from eval.ranking.editions import Edition, find_edition
from eval.ranking.entries import measured_baseline, weighted_score
from eval.ranking.from_records import entries_from
from eval.ranking.gates import Role
from eval.report.renderers import to_terminal
from eval.run.evaluation import Evaluation
from eval.run.launch import resolved
from eval.run.model_source import ModelSource, zoo_model
from eval.submission.checks import check_all
from eval.submission.findings import findings_table, summary
from eval.submission.subject import Facts, gather, subject_of
from eval.third_party.zoo_worker import on_one_clock
from eval.zoo.manifest import find_model


def sources_of(
    asked: Asked, model_id: str | None, weights: str | None = None, takes_checkouts: bool = True
) -> Sequence[ModelSource]:
    """Return the entries that a command line means: one of the zoo, one in a file, or some of a checkout.

    What is wrong is told with the flags that the command has: --checkout only where it ``takes_checkouts``.

    Raises:
        UsageError: none or several of these are given, or what they name does not exist.
    """
    given = [flag for flag, value in (("--model_id", model_id), ("--model_file", asked.model_file)) if value]
    given += ["--checkout"] * bool(asked.checkouts)
    if len(given) != 1:
        known = "--model_id, --model_file and --checkout" if takes_checkouts else "--model_id and --model_file"
        raise UsageError(f"expected one of {known}, got {' and '.join(given) or 'none'}")
    # With a model of the zoo, --weights_key is for --weights.
    of_others = asked if model_id is None else replace(asked, weights_key=None)
    of_others.refuse_idle_flags("weights of the zoo are named by --weights", takes_checkouts)
    if asked.models and not asked.checkouts:
        raise UsageError(f"--models {asked.models}: only with --checkout; one of the zoo is named by --model_id")
    if model_id is not None:
        return [zoo_model(find_model(model_id), weights, asked.weights_key)]
    refuse_idle({"--weights": weights}, "only with --model_id; a file's weights are named by --checkpoint")
    return asked.sources(RunConfig(tile=None))


def check_entries(
    sources: Sequence[ModelSource], rules: str, data_dir: Path | None, device: str, time: bool
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Check entries, print a table of each, and yield its label and its findings as plain data."""
    edition, terminal = find_edition(rules), Terminal()
    sets = challenge_sets(edition, data_dir)
    check_openings(terminal, list(sets.values()), sources)
    config = resolved(RunConfig(protocol=Protocol.ACCURACY, device=device, tf32=False))
    for source in sources:
        label = source.info.label
        facts = gather(subject_of(source), edition, sets, config)
        if time and facts.fault is None:
            facts = _with_score(facts, config, terminal)
        findings = check_all(facts)
        terminal.say(f"{label}, by the rules of {edition.year}: {summary(findings)}")
        terminal.show(to_terminal(findings_table(findings), overflow="fold"))
        yield label, [asdict(finding) for finding in findings]


def challenge_sets(edition: Edition, data_dir: Path | None) -> Mapping[Role, Dataset]:
    """Return the sets of an edition's gates that lie in a folder, with all of their images.

    Raises:
        UsageError: there is no such folder, or one of them cannot be told from another.
        RunError: one of them is damaged.
    """
    sets: dict[Role, Dataset] = {}
    for gate in edition.gates if data_dir else ():
        for name in gate.sets:
            try:
                dataset = open_dataset(data_dir, name)
            except NoSuchSetError:
                continue
            if dataset.has_hr and len(dataset.pairs) == gate.images:
                sets.setdefault(gate.role, dataset)
    return sets


def _with_score(facts: Facts, config: RunConfig, terminal: Terminal) -> Facts:
    """Add an entry's score and the baseline's, or why there is none: a busy machine is no fault of the entry's."""
    try:
        return replace(facts, score=_scores(facts, config, terminal))
    except RunError as error:
        return replace(facts, score_fault=one_reason(error))


def _scores(facts: Facts, config: RunConfig, terminal: Terminal) -> tuple[float, float]:
    """Time an entry and the edition's baseline together on photographs, and return both scores."""
    baseline, source = zoo_model(find_model(facts.edition.baseline.model)), facts.subject.source
    evaluation = Evaluation(RunConfig(protocol=Protocol.STEADY, device=config.device), None, terminal)
    records = evaluation.run(on_one_clock([baseline, source]), [open_dataset(None, SAMPLE)])
    if failed := [record for record in records if not record.complete]:
        raise RunError("\n".join(f"{record.model.label}: {record.outcome}" for record in failed))
    measured = entries_from(records, facts.edition)
    reference, track = measured_baseline(measured, facts.edition), facts.edition.main
    own = next((its for its in measured.entries if its.label == source.info.label), reference)
    return weighted_score(track, own, reference), weighted_score(track, reference, reference)
