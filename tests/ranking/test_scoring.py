"""Scores and ranks by hand and from the challenge's own tables; rank intervals; records that do not belong together."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from rich.console import Console

from eval.config import RunConfig
from eval.errors import RunError, UsageError
from eval.metrics.figures import Flag
from eval.ranking.audit import audit
from eval.ranking.editions import Edition, Metric, Track, all_editions, edition_text, find_edition, read_editions
from eval.ranking.entries import Entry, Measured, measured_baseline, published_baseline, relative_score
from eval.ranking.from_records import entries_from, select
from eval.ranking.from_results_json import is_published, measured_from, read_results
from eval.ranking.scoring import Ranking, Row, competition_ranks, rank
from eval.records.record import Mean, Record
from eval.records.store import write_record
from eval.report.audits.tables import markdown as audit_markdown
from eval.report.score import Scored, csv_table, latex_table, markdown, rank_text, terminal_tables
from eval.report.score_notes import SCORES, notes
from eval.run.runner import with_timing
from eval.timing.samples import Timing
from tests.conftest import PROJECT
from tests.ranking.test_audit import result, with_test
from tests.records.test_record import changed, make_record
from tests.run.test_runner import timing_of

E2 = math.exp(2)
GATED = {"valid": 26.95, "test": 27.05}


def entry(label: str, runtime_ms: float, flops: float = 2e9, num_params: float = 1e6, **more) -> Entry:
    return Entry(label, runtime_ms, flops, num_params, **{"psnr_db": GATED} | more)


BASE = entry("00_RLFN", 10.0)


def places(ranking: Ranking, track: int = 0) -> dict[str, str]:
    name = ranking.edition.tracks[track].name
    return {row.entry.label: rank_text(row.places.get(name)) for row in ranking.rows}


def test_the_editions_figures_are_those_of_the_readmes():
    found = {
        year: (rules.baseline.model, rules.baseline.runtime_ms, rules.baseline.flops / 1e9, rules.baseline.num_params)
        for year, rules in all_editions().items()
    }
    assert {year: found[year] for year in range(2022, 2027)} == {
        2022: ("IMDN", 50.86, 58.53, 894_000),
        2023: ("RFDN", 35.54, 27.10, 433_000),
        2024: ("RLFN", 13.54, 19.67, 317_000),
        2025: ("EFDN", 16.69, 16.70, 276_000),
        2026: ("SPAN", 7.74, 9.83, 151_000),
    }
    for year in (2024, 2025, 2026):
        assert [(gate.role, gate.psnr_db) for gate in find_edition(year).gates] == [("valid", 26.90), ("test", 26.99)]
    assert list(find_edition(2025).main.weights.values()) == [0.7, 0.15, 0.15]
    assert list(find_edition(2026).main.weights.values()) == [0.8, 0.1, 0.1]


@pytest.mark.parametrize("year", [2024, 2025, 2026])
def test_the_published_baseline_scores_e_squared(year: int):
    rules = find_edition(year)
    base = published_baseline(rules, ("valid", "test"))
    (row,) = rank([replace(base, label=rules.baseline.model)], rules, base).rows
    assert all(score == pytest.approx(E2, abs=1e-12) for score in row.scores.values())
    assert len(row.scores) == 3
    assert all(place.total == pytest.approx(E2, abs=1e-12) for place in row.places.values())
    assert row.is_baseline
    assert rank_text(row.places["Main"]) == "base"


@pytest.mark.parametrize(
    ("label", "is_it"),
    [
        ("EFDN", True),
        ("04_EFDN", True),
        ("00_EFDN_baseline", True),
        ("2025-00_EFDN_baseline", True),
        ("2025--1_EFDN_baseline", True),
        ("-1_EFDN_baseline", True),
        (" 00_EFDN_baseline\n", True),
        ("2025-41_EFDN_baseline", False),
        ("2025-41_EFDN", False),
        ("2025-00_EFDNplus", False),
    ],
)
def test_a_team_that_kept_the_baselines_name_is_ranked(label: str, is_it: bool):
    assert find_edition(2025).baseline.is_called(label) is is_it


@pytest.mark.parametrize(
    ("labels", "baselines"),
    [
        (("12_RLFN", "00_RLFN", "01_A"), ["00_RLFN"]),
        (("01_A", "00_RLFN_baseline", "12_RLFN"), ["00_RLFN_baseline"]),
        # The zoo and a checkout number each for itself, and a file beside them has no number.
        (("05_RLFN", "2024-00_RLFN_baseline"), ["05_RLFN", "2024-00_RLFN_baseline"]),
        (("05_RLFN", "RLFN"), ["05_RLFN", "RLFN"]),
        (("RLFN", "00_RLFN"), ["00_RLFN"]),
    ],
)
def test_of_several_models_of_the_baselines_name_that_numbered_00_is_the_baseline(labels, baselines: list[str]):
    rules, entries = find_edition(2024), [entry(label, 10.0 + place) for place, label in enumerate(labels)]
    measured = Measured(tuple(entries), ("Set5",), (), "steady", "")
    assert measured_baseline(measured, rules).label == baselines[0]
    ranking = rank(entries, rules, measured_baseline(measured, rules))
    assert sorted(row.entry.label for row in ranking.rows if row.is_baseline) == sorted(baselines)
    assert all(row.is_baseline or row.places["Main"].rank for row in ranking.rows)


def test_scores_by_hand():
    # Half the runtime: exp(1). Twice the FLOPs: exp(4). As many parameters: exp(2).
    ranking = rank([BASE, entry("01_A", 5.0, 4e9)], find_edition(2024), BASE)
    row = ranking.rows[0]
    assert row.entry.label == "00_RLFN"
    row = ranking.rows[1]
    assert row.scores == pytest.approx({"runtime_ms": math.e, "flops": math.exp(4), "num_params": E2})
    assert row.places["Main"].total == pytest.approx(0.7 * math.e + 0.15 * math.exp(4) + 0.15 * E2)
    in_2026 = rank([entry("05_SPAN", 10.0), entry("01_A", 5.0, 4e9)], find_edition(2026), BASE).rows[-1]
    assert in_2026.places["Main"].total == pytest.approx(0.8 * math.e + 0.1 * math.exp(4) + 0.1 * E2)


def test_a_score_beyond_floats_is_infinite_and_last():
    assert relative_score(10_000.0, 1.0) == math.inf
    ranking = rank([entry("01_Slow", 1e6), entry("02_Fast", 1.0), BASE], find_edition(2024), BASE)
    assert places(ranking) == {"02_Fast": "1", "00_RLFN": "base", "01_Slow": "2"}


def test_ties_share_a_rank_and_the_next_is_skipped():
    assert competition_ranks([3, 1, 1, 2]) == [4, 1, 1, 3]
    ranking = rank([entry("01_A", 5.0), entry("02_B", 5.0), entry("03_C", 6.0), BASE], find_edition(2024), BASE)
    assert places(ranking) == {"01_A": "1", "02_B": "1", "03_C": "3", "00_RLFN": "base"}


def test_rows_of_one_total_stand_by_name():
    entries = [entry("03_C", 5.0), entry("01_A", 5.0), entry("02_B", 5.0)]
    ranking = rank(entries, find_edition(2024), published_baseline(find_edition(2024)))
    assert [row.entry.label for row in ranking.rows] == ["01_A", "02_B", "03_C"]


def test_the_gate_as_printed_and_unrounded():
    near = entry("01_Near", 5.0, psnr_db={"valid": 26.89943, "test": 27.0})
    below = entry("02_Below", 1.0, psnr_db={"valid": 26.8949, "test": 27.0})
    rules = find_edition(2024)
    ranking = rank([BASE, near, below], rules, BASE)
    assert places(ranking) == {"01_Near": "1", "00_RLFN": "base", "02_Below": "-"}
    (verdict, _) = ranking.rows[0].verdicts
    assert (verdict.rounded, verdict.strict) == (True, False)
    assert ranking.rows[-1].scores == {}
    strict = rank([BASE, near, below], rules, BASE, "strict")
    assert places(strict) == {"00_RLFN": "base", "01_Near": "-", "02_Below": "-"}


def three_decimals(psnr_db: float = 26.775) -> Edition:
    """The rules of 2024 with a gate of three decimals on valid."""
    rules = find_edition(2024)
    gates = tuple(its.model_copy(update={"psnr_db": psnr_db, "decimals": 3}) for its in rules.gates[:1])
    return rules.model_copy(update={"gates": gates})


def test_a_gate_is_written_in_its_own_decimals_everywhere():
    rules = three_decimals()
    near, below = (entry(f"0{n}_A", n, psnr_db={"valid": db}) for n, db in ((1, 26.77460), (2, 26.77449)))
    scored = Scored(rank([BASE, near, below], rules, BASE), entries_from([make_record()], rules))
    text = "\n".join(notes(scored))
    assert "02_A is not ranked: PSNR below the gate: 26.774490 dB on valid (least 26.775)." in text
    assert "01_A reaches 26.775 dB on valid only as printed: 26.774600." in text
    assert "26.774 |" in markdown(scored)
    # Compared unrounded, 26.7749 does not show as the gate that it misses.
    for rule, shown in (("rounded", "26.775 |"), ("strict", "26.7749 |")):
        near = Scored(rank([BASE, entry("01_A", 1, psnr_db={"valid": 26.7749})], rules, BASE, rule), scored.measured)
        assert shown in markdown(near)
    assert three_decimals(26.7).gates[0].least == "26.700"
    # More decimals than it is compared to: it is not rounded away.
    assert find_edition(2024).gates[0].model_copy(update={"psnr_db": 26.775}).least == "26.775"


def test_an_audit_writes_a_gate_in_its_own_decimals(tmp_path: Path):
    models = {"Low": result([1.0] * 2, [26.7744] * 2), "Near": result([2.0] * 2, [26.7746] * 2)}
    (tmp_path / "results.json").write_text(json.dumps(models))
    gates = (three_decimals().gates[0].model_copy(update={"images": 2}),)
    rules = three_decimals().model_copy(update={"gates": gates})
    text = audit_markdown(audit("results.json", read_results(tmp_path / "results.json"), rules))
    assert "(26.775 dB on valid) is reached only by rounding by: Near 26.774600 on valid" in text
    assert re.search(r"Low +\| valid \| +26\.774400 \| +26\.775 ", text)
    assert "The challenge compares three decimals." in text


def test_a_psnr_that_is_the_gate_passes():
    exact = entry("01_Exact", 5.0, psnr_db={"valid": 26.9, "test": 26.99})
    below = entry("02_Below", 5.0, psnr_db={"valid": math.nextafter(26.9, 0), "test": 26.99})
    ranking = rank([BASE, exact, below], find_edition(2024), BASE, "strict")
    assert places(ranking) == {"01_Exact": "1", "00_RLFN": "base", "02_Below": "-"}


@pytest.mark.parametrize(
    ("dataset", "images", "role"),
    [
        ("DIV2K_LSDIR_valid", 200, "valid"),
        ("DIV2K_LSDIR_test", 200, "test"),
        ("DIV2K_LSDIR_valid", 199, None),
        ("DIV2K_LSDIR_valid", 201, None),
        ("Urban100", 200, None),
    ],
)
def test_only_the_whole_set_is_the_challenges(dataset: str, images: int, role: str | None):
    assert find_edition(2024).role_of(dataset, images) == role


def test_other_sets_have_no_gate():
    ranking = rank([BASE, replace(BASE, label="01_A", psnr_db={"Urban100": 20.0})], find_edition(2024), BASE)
    assert places(ranking)["01_A"] == "1"
    assert ranking.rows[-1].verdicts == ()


@pytest.mark.parametrize("images", [2, 200])
def test_a_set_of_ones_own_that_is_called_like_a_part_of_the_challenges_has_no_gate(images: int):
    own = {"name": "valid", "layout": "HR and LR", "num_images": images}
    records = [changed(steady(label, 1, 1), dataset=own) for label in ("00_RLFN", "03_PFDNLite")]
    measured = entries_from(records, find_edition(2024))
    assert measured.roles == ()
    low = [replace(its, psnr_db={"valid": 20.0}) for its in measured.entries]
    ranking = rank(low, find_edition(2024), low[0])
    assert [row.verdicts for row in ranking.rows] == [(), ()]
    assert any(note.startswith("No gate was applied: it is defined on") for note in notes(Scored(ranking, measured)))


def test_a_runtime_that_is_not_surely_longer_than_the_baselines_has_no_star():
    def asked(scale: float, seed: int) -> tuple[Row, str, dict]:
        records = [steady("00_RLFN", 1, 1), steady("03_PFDNLite", scale, seed)]
        measured = entries_from(records, find_edition(2024))
        base = measured_baseline(measured, find_edition(2024))
        ranking = rank(measured.entries, find_edition(2024), base)
        scored = Scored(ranking, measured)
        csv_rows = {its["model"]: its for its in csv.DictReader(io.StringIO(csv_table(scored)))}
        row = next(row for row in ranking.rows if not row.is_baseline)
        return row, "\n".join(notes(scored)), csv_rows[row.entry.label]

    by_flops = "Sub-track 2: FLOPs"
    # 1% of noise on 30 samples: the mean of one is a little above the other's, by chance.
    row, told, cells = asked(1.005, 2)
    assert row.entry.runtime_ms > 3.0
    assert (row.places[by_flops].worse, row.places[by_flops].left_open) == ((), ("runtime_ms",))
    assert "by runtimes it is not settled whether these are, so they have no star: 03_PFDNLite (Time)." in told
    assert (cells[f"worse: {by_flops}"], cells[f"left_open: {by_flops}"]) == ("", "runtime_ms")
    row, told, cells = asked(1.1, 2)
    assert (cells[f"worse: {by_flops}"], cells[f"left_open: {by_flops}"]) == ("runtime_ms", "")
    assert (row.places[by_flops].worse, row.places[by_flops].left_open) == (("runtime_ms",), ())
    assert "worse are: 03_PFDNLite (Time)." in told


def test_a_sub_track_says_what_is_worse_than_the_baseline():
    ranking = rank([BASE, entry("01_A", 5.0, 4e9, 2e6)], find_edition(2024), BASE)
    worse = {name: place.worse for name, place in ranking.rows[-1].places.items()}
    assert worse == {
        "Main": (),
        "Sub-track 1: runtime": ("flops", "num_params"),
        "Sub-track 2: FLOPs": ("num_params",),
        "Sub-track 3: parameters": ("flops",),
    }


def test_what_equals_the_baseline_is_not_worse():
    (_, row) = rank([BASE, entry("01_A", 9.0)], find_edition(2024), BASE).rows[::-1]
    assert all(place.worse == () for place in row.places.values())
    # The baseline is asked for nothing, also where it was measured slower than it was published.
    (row,) = rank([replace(BASE, runtime_ms=99.0, flops=9e9)], find_edition(2024), BASE).rows
    assert all(place.worse == () for place in row.places.values())


# Ten teams of NTIRE 2022's table: ms, M parameters, G FLOPs, M activations, MiB. Ranks below were written out by hand.
TEAMS_2022 = {
    "ByteESR": (27.11, 0.317, 19.70, 80.05, 377.91),
    "NJU_Jet": (28.07, 0.341, 22.28, 72.09, 204.60),
    "NEESR": (29.97, 0.272, 16.86, 79.59, 575.99),
    "Super": (32.09, 0.326, 20.06, 93.82, 663.07),
    "MegSR": (32.59, 0.290, 17.70, 91.72, 640.63),
    "XPixel": (140.47, 0.156, 9.50, 65.76, 729.94),
    "NJUST_ESR": (164.80, 0.176, 8.73, 160.43, 1346.74),
}


def test_the_rules_of_2022_by_hand():
    entries = [
        Entry(team, ms, flops * 1e9, params * 1e6, acts * 1e6, mib, {"valid": 29.0})
        for team, (ms, params, flops, acts, mib) in TEAMS_2022.items()
    ]
    rules = find_edition(2022)
    ranking = rank(entries, rules, published_baseline(rules))
    assert places(ranking, 0) == {team: str(place) for place, team in enumerate(TEAMS_2022, 1)}
    # Parameters + FLOPs: 5+5, 7+7, 3+3, 6+6, 4+4, 1+2, 2+1: the first two share the first rank, as in the table.
    expected = {
        "XPixel": "1",
        "NJUST_ESR": "1",
        "NEESR": "3",
        "MegSR": "4",
        "ByteESR": "5",
        "Super": "6",
        "NJU_Jet": "7",
    }
    assert places(ranking, 1) == expected
    # Runtime + parameters + FLOPs + activations + memory, of the first team: 1 + 5 + 5 + 4 + 2.
    totals = {row.entry.label: row.places["Sub-track 2: overall"].total for row in ranking.rows}
    assert totals["ByteESR"] == 17
    assert totals["NEESR"] == 3 + 3 + 3 + 3 + 3
    assert ranking.rows[0].scores == {}
    assert ranking.rows[5].places["Sub-track 1: complexity"].worse == ("runtime_ms",)


def test_in_2022_the_baseline_takes_no_rank_from_the_others():
    rules = find_edition(2022)
    base = Entry("00_IMDN", 20.0, 2e9, 2e5, 2e6, 200.0)
    others = [Entry("01_A", 10.0, 3e9, 3e5, 3e6, 300.0), Entry("02_B", 30.0, 1e9, 4e5, 1e6, 100.0)]
    by_label = {row.entry.label: row.places for row in rank([base, *others], rules, base).rows}
    # Among A and B alone: parameters 1 and 2, FLOPs 2 and 1. The baseline itself would be second in both of them.
    assert {label: its["Sub-track 1: complexity"].total for label, its in by_label.items()} == {
        "00_IMDN": 1 + 2,
        "01_A": 1 + 2,
        "02_B": 2 + 1,
    }
    assert [by_label[label]["Sub-track 1: complexity"].rank for label in ("00_IMDN", "01_A", "02_B")] == [None, 1, 1]


def test_in_2022_a_baseline_without_a_figure_will_do():
    rules = find_edition(2022)
    base = Entry("00_IMDN", None, 2e9, 2e5)
    ranking = rank([base, Entry("01_A", 10.0, 3e9, 3e5)], rules, base)
    assert places(ranking) == {"01_A": "1", "00_IMDN": "-"}
    assert ranking.rows[0].places["Sub-track 1: complexity"].worse == ()


def test_2022_without_memory_has_no_place_in_that_track_only():
    rules = find_edition(2022)
    ranking = rank([Entry("A", 10.0, 1e9, 1e5)], rules, published_baseline(rules))
    assert [places(ranking, track)["A"] for track in range(3)] == ["1", "1", "-"]


def test_2023_cannot_be_ranked_and_says_why():
    with pytest.raises(UsageError, match=r"--edition 2023: cannot be ranked: .* no source .* formula.* 2022, 2024"):
        find_edition(2023)
    assert find_edition(2023, for_ranking=False).baseline.model == "RFDN"
    with pytest.raises(UsageError, match="--edition 2030: no rules are known"):
        find_edition(2030)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("year = 2024", "year = 2025"), "every year must be unique"),
        (("weights = { runtime_ms = 1 }", "weights = { runtime_ms = 2 }"), "weights must add up to 1"),
        (("weights = { runtime_ms = 1 }", ""), "give either weights or ranks"),
        (("gpu = ", "gpus = "), "gpus"),
        (("unknown = ", "# unknown = "), "give either tracks or unknown"),
        (("runtime_ms = 13.54", "runtime_ms = nan"), "runtime_ms"),
        (("weights = { runtime_ms = 1 }", 'weights = { runtime_ms = 1 }\nranks = ["flops"]'), "give either weights or"),
        (("year = 2024", 'year = 2024\nunknown = "x"'), "give either tracks or unknown"),
        (("runtime_ms = 13.54", "runtime_ms = 0"), "runtime_ms"),
        (("flops = 19_670_000_000", "flops = 0"), "flops"),
        (
            ("weights = { num_params = 1 }", "weights = { peak_memory_mib = 1 }"),
            r"\[edition\.baseline\] lacks peak_memory_mib, which track 'Sub-track 3: parameters' weighs",
        ),
        (("runtime_ms = 0.7,", "peak_memory_mib = 0.7,"), r"lacks peak_memory_mib, which track 'Main' weighs"),
        (('name = "Sub-track 2: FLOPs"', 'name = "Main"'), r"editions\.toml: .*\.tracks: .*name of a track .*: 'Main'"),
        (('role = "test"', 'role = "valid"'), r"editions\.toml: .*\.gates: .*role of a gate .*: 'valid'"),
        (
            ('sets = ["DIV2K_LSDIR_test"', 'sets = ["DIV2K_LSDIR_valid"'),
            r"gates: .*name of a set .*'DIV2K_LSDIR_valid'",
        ),
    ],
)
def test_a_wrong_table_of_an_edition_is_named(tmp_path: Path, change: tuple[str, str], message: str):
    path = tmp_path / "editions.toml"
    text = (PROJECT / "eval" / "ranking" / "editions.toml").read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(RunError, match=message):
        read_editions(path)


def test_adding_an_edition_is_adding_a_table(tmp_path: Path):
    text = (PROJECT / "eval" / "ranking" / "editions.toml").read_text()
    added = edition_text(2999, 2026).replace("runtime_ms = 7.74", "runtime_ms = 5")
    added = added[added.index("[[edition]]") :]
    (tmp_path / "editions.toml").write_text(text + added)
    rules = read_editions(tmp_path / "editions.toml")[2999]
    assert published_baseline(rules).runtime_ms == 5
    assert len(rules.tracks) == 4


def test_a_model_given_twice_and_a_baseline_without_flops_are_refused():
    with pytest.raises(RunError, match="given more than once: 01_A"):
        rank([entry("01_A", 1.0), entry("01_A", 2.0)], find_edition(2024), BASE)
    with pytest.raises(RunError, match="cannot be the baseline without flops"):
        rank([BASE], find_edition(2024), replace(BASE, flops=None))
    with pytest.raises(RunError, match="cannot be the baseline without num_params"):
        rank([BASE], find_edition(2024), replace(BASE, num_params=0))
    # A sub-track alone may weigh it, too.
    its = find_edition(2024)
    by_memory = its.tracks[1].model_copy(update={"weights": {"peak_memory_mib": 1.0}})
    rules = its.model_copy(update={"tracks": (its.main, by_memory)})
    with pytest.raises(RunError, match=r"00_RLFN: .* without peak_memory_mib, which track 'Sub-track 1: runtime'"):
        rank([BASE, entry("01_A", 1.0, peak_memory_mib=5.0)], rules, BASE)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0, 0.0])
def test_a_runtime_that_cannot_be_is_refused(wrong: float):
    record = make_record().model_copy(update={"means": {"runtime_ms": Mean(mean=wrong, count=2)}})
    with pytest.raises(RunError, match="03_PFDNLite: expected a runtime above 0 ms"):
        entries_from([record], find_edition(2024))


# Rank intervals.


def noisy(scale: float, seed: int, sets: int = 1) -> dict:
    """Samples of 20 images and 12 rounds around ``scale``, images spread widely but alike in all models."""
    arrays = []
    for number in range(sets):
        images = np.random.default_rng(number).uniform(0.5, 1.5, (20, 1))
        noise = np.random.default_rng(100 * number + seed).normal(1, 0.05, (20, 12))
        arrays.append(scale * images / images.mean() * noise)
    return {"runtime_ms": float(np.mean([np.median(a, axis=1).mean() for a in arrays])), "samples_ms": tuple(arrays)}


@pytest.mark.parametrize("sets", [1, 2])
def test_a_tie_shares_a_range_of_ranks_and_a_clear_order_does_not(sets: int):
    base = replace(BASE, **noisy(10, 1, sets))
    entries = [base, replace(entry("01_A", 0), **noisy(5, 2, sets)), replace(entry("02_B", 0), **noisy(5.001, 3, sets))]
    entries.append(replace(entry("03_C", 0), **noisy(8, 4, sets)))
    ranking = rank(entries, find_edition(2024), base)
    assert places(ranking) == places(ranking, 1) == {"01_A": "1-2", "02_B": "1-2", "03_C": "3", "00_RLFN": "base"}
    # FLOPs do not depend on time: equal ones share a rank, without a range.
    assert set(places(ranking, 2).values()) == {"1", "base"}


def test_a_rank_always_lies_in_its_interval():
    # Means of all images, and paired samples that say otherwise.
    one, other = replace(entry("01_A", 0), **noisy(8, 2)), replace(entry("02_B", 0), **noisy(4, 3))
    rules = find_edition(2024)
    ranking = rank([replace(one, runtime_ms=4.0), replace(other, runtime_ms=8.0)], rules, published_baseline(rules))
    assert places(ranking, 1) == {"01_A": "1-2", "02_B": "1-2"}


# From records.


def timing(scale: float, seed: int, group: str = "one", **changes) -> Timing:
    """Return a steady timing of 5 images and 6 rounds."""
    images = np.arange(1, 6)[:, None] * scale
    samples = images * np.random.default_rng(seed).normal(1, 0.01, (5, 6))
    fields = {"samples_ms": tuple(map(tuple, samples.tolist())), "image_names": tuple("abcde"), "dropped": {}}
    return timing_of(**fields | {"group": group} | changes)


def steady(label: str, scale: float, seed: int, **changes) -> Record:
    its = changes.pop("timing", None) or timing(scale, seed)
    record = make_record((26.95,) * 5, label=label, **{"settings": {"protocol": "steady"}} | changes)
    return with_timing(record, its)


def test_entries_of_steady_records_by_hand():
    samples = ((1.0, 3.0, None), (10.0, 20.0, 60.0), (None, None, None))
    record = steady("03_PFDNLite", 1, 1, timing=timing(1, 1, samples_ms=samples, image_names=("a", "b", "c")))
    (found,) = entries_from([record], find_edition(2024)).entries
    # Median of 1 and 3 is 2, of 10, 20 and 60 is 20; the third image lost all samples.
    assert found.runtime_ms == 11
    assert (found.flops, found.num_params, found.psnr_db) == (11_952_734_208, 218_288, {"Set2": pytest.approx(26.95)})
    assert found.device == "A processor, 2 threads"


def on(dataset: str, db: float, label: str = "03_PFDNLite", count: int = 200) -> Record:
    its = {"name": f"DIV2K_LSDIR_{dataset}", "layout": "challenge", "num_images": count}
    return changed(make_record((db, db), label=label), dataset=its)


def test_valid_and_test_are_averaged_and_gated_only_if_whole():
    whole = entries_from([on("valid", 26.8), on("test", 27.0)], find_edition(2024))
    assert whole.roles == ("valid", "test")
    assert whole.entries[0].psnr_db == {"valid": pytest.approx(26.8), "test": pytest.approx(27.0)}
    assert whole.entries[0].runtime_ms == 75.0
    part = entries_from([on("valid", 26.8, count=2)], find_edition(2024))
    assert part.roles == ()
    assert part.entries[0].psnr_db == {"DIV2K_LSDIR_valid": pytest.approx(26.8)}


@pytest.mark.parametrize(
    ("figure", "changes"),
    [
        ("flops", {"complexity": {"flops": 0}}),
        ("num_params", {"complexity": {"num_params": 0}}),
        ("activations", {"complexity": {"activations": 0}}),
        ("peak_memory_mib", {"peak_memory_mib": 0.0}),
    ],
)
def test_a_figure_of_0_is_none_that_was_taken(tmp_path: Path, figure: str, changes: dict):
    (found,) = entries_from([changed(make_record(label="00_RLFN"), **changes)], find_edition(2024)).entries
    assert getattr(found, figure) is None
    published = {"flops": "flops", "num_params": "num_parameters", "activations": "activations"}
    its = result([10.0]) | {published.get(figure, "valid_memory"): 0.0}
    (tmp_path / "results.json").write_text(json.dumps({"A": its}))
    (entry,) = measured_from(read_results(tmp_path / "results.json")).entries
    assert getattr(entry, figure) is None


def test_records_that_do_not_belong_together_are_refused():
    rules = find_edition(2024)
    one, other = make_record(), make_record(label="00_RLFN")
    on_gpu = {"environment": {"gpu": "NVIDIA H100"}, "settings": {"device": "cuda"}}
    in_tiles = {"settings": {"tile": 64, "tile_overlap": 16}}
    for change, message in (
        ({"settings": {"protocol": "steady"}}, "different protocol .*official.*steady"),
        (on_gpu, "different device .*A processor.*NVIDIA H100"),
        ({"environment": {"threads": 8}}, "different device .*8 thread"),
        (in_tiles, "different settings .*tiles of 64.*whole images"),
        ({"settings": {"runs": 5}}, "different settings .*averaged: 1.*averaged: 5"),
        (
            {"config": RunConfig(device="cuda", protocol="official", tf32=False)},
            "different TF32 .*as by default.*no TF32",
        ),
        ({"images": other.images[:1]}, "00_RLFN is of other images"),
        ({"dataset": {"name": "Set14"}}, "expected records of one set.*Set14, Set2"),
    ):
        with pytest.raises(RunError, match=message):
            entries_from([one, changed(other, **change)], rules)
    with pytest.raises(RunError, match="found: none at all"):
        entries_from([], rules)
    with pytest.raises(RunError, match="have no runtimes"):
        entries_from([make_record(settings={"protocol": "accuracy"})], rules)


def test_models_measured_by_unlike_software_are_told():
    one = make_record()
    other = make_record(label="00_RLFN", environment={"torch": "1.13.1", "platform": "Windows"})
    told = "not all were measured by one software: torch 1.13.1, Windows (00_RLFN); torch 2.13.0, Linux (03_PFDNLite)"
    assert told in entries_from([one, other], find_edition(2024)).notes
    assert not [note for note in entries_from([one], find_edition(2024)).notes if "software" in note]


def test_times_over_other_images_of_a_set_are_not_ranked_together():
    rules, whole = find_edition(2024), steady("00_RLFN", 1, 1)
    part = timing(1, 2, "two", samples_ms=((1.0,) * 6,) * 3, image_names=("a", "c", "e"))
    lost = timing(1, 2, "two", samples_ms=(*((1.0,) * 6,) * 4, (None,) * 6))
    for its, count in ((part, 3), (lost, 4)):
        told = f"Set2: 03_PFDNLite was timed on {count} of its images, 00_RLFN on 5 that are not the same"
        with pytest.raises(RunError, match=told):
            entries_from([whole, steady("03_PFDNLite", 1, 2, timing=its)], rules)


@pytest.mark.parametrize("change", [{"source_sha256": "2" * 64}, {"weights_sha256": "3" * 64}])
def test_one_entry_is_of_one_network(change: dict):
    records = [on("valid", 27.0), changed(on("test", 27.0), model=change)]
    with pytest.raises(
        RunError, match=r"03_PFDNLite: its records of \S+_valid and \S+_test are of other code or weights"
    ):
        entries_from(records, find_edition(2024))


def test_a_model_without_one_of_the_sets_is_named():
    records = [on("valid", 27.0, "00_RLFN"), on("test", 27.0, "00_RLFN"), on("valid", 27.0)]
    with pytest.raises(RunError, match="missing: 03_PFDNLite on DIV2K_LSDIR_test"):
        entries_from(records, find_edition(2024))


def test_a_failed_run_is_left_out_with_its_reason():
    failed = make_record((), label="05_SPAN", status="failed", reason="at image a: out of memory")
    measured = entries_from([make_record(), failed], find_edition(2024))
    assert [found.label for found in measured.entries] == ["03_PFDNLite"]
    assert measured.notes[0] == "05_SPAN is not ranked: its run failed: at image a: out of memory"
    with pytest.raises(RunError, match="05_SPAN is not ranked: its run failed: at image a"):
        entries_from([failed], find_edition(2024))


def test_gpus_of_one_name_are_not_ranked_together():
    one, other = (
        make_record(label=label, environment={"gpu": "NVIDIA H100"}, settings={"device": f"cuda:{index}"})
        for index, label in enumerate(("03_PFDNLite", "00_RLFN"))
    )
    with pytest.raises(RunError, match=r"different device .*H100, A processor \(03.*H100, A processor, cuda:1"):
        entries_from([one, other], find_edition(2024))


def test_what_is_no_network_takes_no_rank_from_others():
    """The main track of 2022 asks for time alone, which bicubic has."""
    fast = make_record(model={"id": -1, "label": "Bicubic"})
    records = [fast, make_record(), make_record(label="06_IMDN")]
    measured = entries_from(records, find_edition(2022))
    assert [its.label for its in measured.entries] == ["03_PFDNLite", "06_IMDN"]
    assert measured.notes[0] == "Bicubic is not ranked: it is no network"
    # An entry of a checkout whose id is -1 is one: the baseline of 2022.
    imdn = changed(fast, model={"origin": "NTIRE2022"})
    assert len(entries_from([imdn, *records[1:]], find_edition(2022)).entries) == 3


def test_weights_of_our_own_are_named_in_every_file():
    records = [make_record(model={"checkpoint": "selftrained"}), make_record(label="00_RLFN")]
    rules = find_edition(2024)
    measured = entries_from(records, rules)
    scored = Scored(rank(measured.entries, rules, measured_baseline(measured, rules)), measured)
    assert "03\\_PFDNLite (selftrained)" in markdown(scored)
    assert "PFDNLite (selftrained)" in latex_table(scored)
    rows = {its["model"]: its["weights"] for its in csv.DictReader(io.StringIO(csv_table(scored)))}
    assert rows == {"03_PFDNLite": "selftrained", "00_RLFN": ""}


def test_a_missing_baseline_says_what_to_run():
    rules = find_edition(2024)
    measured = entries_from([steady("03_PFDNLite", 1, 1), steady("05_SPAN", 1, 2)], rules)
    command = "python -m eval run --models RLFN,PFDNLite,SPAN --datasets Set2 --protocol steady"
    with pytest.raises(RunError, match=f"expected a record of RLFN.*{command}.*--baseline published"):
        measured_baseline(measured, rules)


def test_entries_of_a_checkout_are_measured_beside_the_baseline_by_its_own_flag():
    rules = find_edition(2024)
    measured = entries_from([steady("2024--1_Other_baseline", 1, 1), steady("05_SPAN", 1, 2)], rules)
    with pytest.raises(RunError, match=r"together: add --reference RLFN to the command that ran them; or rank"):
        measured_baseline(measured, rules)


def test_two_versions_of_the_baseline_are_named_and_a_released_one_counts():
    rules, others = find_edition(2024), [steady("05_SPAN", 1, 3)]
    two = [steady(f"2024-00_RLFN (net {digest})", scale, 1) for digest, scale in (("aaaa", 1), ("bbbb", 2))]
    measured = entries_from([*two, *others], rules)
    with pytest.raises(
        RunError, match=r"got 2024-00_RLFN \(net aaaa\) and 2024-00_RLFN \(net bbbb\): move the records"
    ):
        measured_baseline(measured, rules)
    marked, released = steady("00_RLFN (selftrained)", 1, 1), steady("00_RLFN", 2, 1)
    measured = entries_from([marked, released, *others], rules)
    assert measured_baseline(measured, rules).label == "00_RLFN"
    ranking = rank(measured.entries, rules, measured_baseline(measured, rules))
    assert places(ranking) == {"00_RLFN (selftrained)": "1-2", "05_SPAN": "1-2", "00_RLFN": "base"}
    assert measured_baseline(entries_from([marked, *others], rules), rules).label == "00_RLFN (selftrained)"


def test_an_entry_that_stands_twice_is_told_with_what_drops_the_older_one():
    def entered(label: str, day: int, origin: str = "NTIRE2024") -> Record:
        record = steady(label, 1, day, model={"origin": origin, "name": "18_DISP"})
        return record.model_copy(update={"started_at": record.started_at.replace(year=2026, month=11, day=day)})

    records = [entered("2024-18_DISP (net bbbb)", 29), entered("2024-18_DISP (net aaaa)", 27), steady("05_SPAN", 1, 1)]
    (note,) = (its for its in entries_from(records, find_edition(2024)).notes if "18_DISP of NTIRE2024" in its)
    assert "has 2 ranks" in note
    assert "2024-18_DISP (net aaaa) (2026-11-27), 2024-18_DISP (net bbbb) (2026-11-29)." in note
    assert "move the others' records" in note
    # One of another checkout is another entry, and versions of a model of the zoo are asked for by name.
    for origin in ("NTIRE2025", "zoo"):
        others = [entered("03_A", 1, origin), entered("04_A", 2, "NTIRE2024" if origin != "zoo" else "zoo")]
        assert not any("ranks, one" in its for its in entries_from(others, find_edition(2024)).notes)


def paired(kept: int, groups: tuple[str, str] = ("one", "one")) -> Measured:
    """Return two models with so many undisturbed samples of one image."""
    timings = [timing(1, 1, group, samples_ms=((1.0,) * kept,), image_names=("a",)) for group in groups]
    records = [steady(label, 1, 1, timing=its) for label, its in zip(("00_RLFN", "03_A"), timings, strict=True)]
    return entries_from(records, find_edition(2024))


def test_what_was_not_paired_has_no_intervals():
    for measured, note in (
        (paired(10, ("one", "two")), "Models were timed in separate runs"),
        (paired(9), "Only 9 undisturbed samples"),
        (paired(1), "Only 1 undisturbed sample of"),
    ):
        assert measured.notes[0].startswith(note)
        assert all(found.samples_ms is None for found in measured.entries)
    assert all(found.samples_ms is not None for found in paired(10).entries)


def test_records_are_chosen_by_set_protocol_and_device():
    records = [make_record(dataset="Set5"), make_record(dataset="DIV2K_LSDIR_valid"), steady("00_RLFN", 1, 1)]
    assert [r.dataset.name for r in select(records, ["Set5", "valid"])] == ["Set5", "DIV2K_LSDIR_valid"]
    assert select(records, protocol="steady") == records[2:]
    assert select(records, device="cpu") == records
    with pytest.raises(UsageError, match=r"no record fits.*Set2, steady, cpu"):
        select(records, ["Set14"])


def test_a_device_is_chosen_by_a_part_of_its_name():
    both = [
        make_record(settings={"device": "cuda"}, environment={"gpu": gpu}, second=second)
        for second, gpu in enumerate(("NVIDIA A100", "NVIDIA H100"))
    ]
    assert select(both, device="h100") == both[1:]
    assert select(both, device="cuda") == both
    told = r"different device cannot be ranked together: NVIDIA A100, A processor .*one by --device"
    with pytest.raises(RunError, match=told):
        entries_from(both, find_edition(2024))


def test_times_of_one_gpu_in_two_hosts_are_not_ranked_together():
    one, other = (
        make_record(label=label, settings={"device": "cuda"}, environment={"gpu": "NVIDIA H100", "cpu": cpu})
        for label, cpu in (("03_PFDNLite", "A slow CPU"), ("00_RLFN", "A fast CPU"))
    )
    with pytest.raises(RunError, match=r"different device .*H100, A fast CPU \(00.*H100, A slow CPU \(03.*by --device"):
        entries_from([one, other], find_edition(2024))
    assert select([one, other], device="H100, A slow") == [one]
    assert select([one, other], device="h100") == [one, other]
    # The CPU beside a GPU is no device.
    for device in ("cpu", "CPU", "slow"):
        with pytest.raises(UsageError, match="no record fits"):
            select([one, other], device=device)


def test_records_without_times_are_left_out_beside_timed_ones():
    records = [steady("00_RLFN", 1, 1), steady("03_PFDNLite", 1, 2)]
    records += [make_record(label=label, settings={"protocol": "accuracy"}) for label in ("00_RLFN", "05_SPAN")]
    measured = entries_from(records, find_edition(2024))
    assert [entry.label for entry in measured.entries] == ["00_RLFN", "03_PFDNLite"]
    assert "05_SPAN is not ranked: it was not timed" in measured.notes


def test_a_count_of_nothing_takes_no_rank():
    hidden = make_record(label="09_Hidden", complexity={"num_params": 0})
    rules = find_edition(2024)
    measured = entries_from([make_record(label="00_RLFN"), make_record(), hidden], rules)
    found = rank(measured.entries, rules, measured_baseline(measured, rules))
    row = next(row for row in found.rows if row.entry.label == "09_Hidden")
    assert (row.lacking, row.has_place, dict(row.places)) == (("num_params",), False, {})


def test_memory_that_was_taken_in_two_ways_has_no_rank():
    names, rules = ("00_IMDN", "03_PFDNLite", "05_SPAN"), find_edition(2022)
    alike = [make_record(label=label) for label in names]
    for last, known in ((alike[-1], 105.456), (changed(alike[-1], peak_memory_method="of its own process"), None)):
        measured = entries_from([*alike[:-1], last], rules)
        assert {entry.peak_memory_mib for entry in measured.entries} == {known}
        assert any("Mem is left out" in note for note in measured.notes) == (known is None)
        ranks = [
            row.places[rules.tracks[2].name].rank for row in rank(measured.entries, rules, measured.entries[0]).rows
        ]
        assert ranks.count(None) == (1 if known else 3)


def test_what_figures_do_not_show_stands_beside_the_ranks():
    flag = Flag(code="weights", text="22,080 numbers in buffers are used as weights and are not in Params")
    measured = entries_from([make_record(), make_record(label="05_SPAN", flags=(flag, flag))], find_edition(2024))
    assert measured.notes.count(f"05_SPAN: {flag.text}") == 1


def test_records_of_other_images_of_one_name_are_not_ranked_together():
    def of(sha256: str, label: str) -> Record:
        return changed(make_record(label=label), dataset={"sha256": sha256})

    with pytest.raises(RunError, match="some sets have the same name but different files"):
        entries_from([of("a", "00_RLFN"), of("b", "05_SPAN")], find_edition(2024))


# Reports.


@pytest.fixture
def scored() -> Scored:
    rules = find_edition(2024)
    names = ("00_RLFN", "03_PFDNLite", "05_SPAN")
    records = [steady(name, scale, seed) for seed, (name, scale) in enumerate(zip(names, (2, 1, 1.5), strict=True))]
    measured = entries_from(records, rules)
    return Scored(rank(measured.entries, rules, measured_baseline(measured, rules)), measured)


def test_the_notes_say_what_must_be_known(scored: Scored):
    text = "\n".join(notes(scored))
    assert "not on the challenge's NVIDIA GeForce RTX 3090" in text
    assert "No gate was applied: it is defined on DIV2K_LSDIR_valid (200 images)" in text
    assert "Score_Final = 0.7 Score_Runtime + 0.15 Score_FLOPs + 0.15 Score_Params" in text
    on_3090 = replace(scored, measured=replace(scored.measured, device="NVIDIA GeForce RTX 3090"))
    assert "not on the challenge's" not in "\n".join(notes(on_3090))
    assert find_edition(2024).runs_on("nvidia rtx 3090, A processor")
    assert not find_edition(2024).runs_on("NVIDIA GeForce RTX 3090 Ti")


def test_the_notes_say_of_how_many_images_times_are(scored: Scored):
    assert ", after warming up, on Set2, protocol steady." in "\n".join(notes(scored))
    its = timing(1, 1, samples_ms=((1.0,) * 6,) * 3, image_names=("a", "c", "e"))
    measured = entries_from([steady("00_RLFN", 1, 1, timing=its)], find_edition(2024))
    text = "\n".join(notes(replace(scored, measured=measured)))
    assert ", after warming up, on 3 of 5 images of Set2, protocol steady." in text


def test_a_model_below_the_gate_gets_a_reason():
    rules = find_edition(2024)
    below = entry("02_Below", 1.0, psnr_db={"valid": 26.80236, "test": 27.0})
    near = entry("01_Near", 5.0, psnr_db={"valid": 26.89943, "test": 27.0})
    measured = entries_from([make_record()], rules)
    text = "\n".join(notes(Scored(rank([BASE, below, near], rules, BASE), measured)))
    assert "02_Below is not ranked: PSNR below the gate: 26.80236 dB on valid (least 26.90)." in text
    assert "01_Near reaches 26.90 dB on valid only as printed: 26.89943." in text


def test_a_model_without_psnr_on_a_gates_images_is_named():
    rules, measured = find_edition(2024), entries_from([make_record()], find_edition(2024))
    bare, half = entry("01_Bare", 1.0, psnr_db={}), entry("02_Half", 2.0, psnr_db={"valid": 26.95})
    text = notes(Scored(rank([BASE, bare, half], rules, BASE), measured))
    assert [line for line in text if "was not held" in line] == [
        f"{label} has no PSNR on {role}, so the gate was not held against it."
        for label, role in (("01_Bare", "valid"), ("01_Bare", "test"), ("02_Half", "test"))
    ]
    # Where no model has it, the gate itself is named.
    alone = [replace(its, psnr_db={"valid": 26.95}) for its in (BASE, half)]
    text = notes(Scored(rank(alone, rules, BASE), measured))
    assert "The gate on test was not applied: no PSNR of it." in text
    assert not any("was not held" in line for line in text)


def test_a_model_that_lacks_a_figure_of_the_main_track_has_no_place():
    rules = find_edition(2024)
    ranking = rank([BASE, entry("01_A", 5.0, flops=None), entry("02_B", 6.0)], rules, BASE)
    assert places(ranking) == {"02_B": "1", "00_RLFN": "base", "01_A": "-"}
    assert (ranking.rows[-1].lacking, ranking.rows[-1].scores) == (("flops",), {})
    assert "01_A is not ranked: not measured: FLOPs." in notes(Scored(ranking, entries_from([make_record()], rules)))


def test_best_and_second_of_ranked_rows_are_marked_in_files(scored: Scored):
    lines = [line for line in markdown(scored).splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:2] for row in rows[1:4]] == [["1", r"03\_PFDNLite"], ["2", r"05\_SPAN"], ["base", r"00\_RLFN"]]
    assert [re.sub("[^*]", "", row[5]) for row in rows[1:4]] == ["****", "**", ""]
    assert rows[3][-1] == "7.3891"
    text = latex_table(scored)
    assert text.startswith("\\begin{tabular}{rlrr")
    first, second, base = text.splitlines()[4:7]
    assert r"& 03\_PFDNLite" in first
    assert r"\textbf{3.0" in first
    assert r"\underline{4.4" in second
    assert r"\textbf" not in base


def test_tables_say_which_kind_of_intervals_they_show(scored: Scored):
    for kind, its in (("pairwise", scored), ("simultaneous", replace(scored, ranking=_together(scored)))):
        assert f"| Rank [{kind} 95%]" in " ".join(markdown(its).replace("\\", "").split())
        assert f"Rank [{kind} 95\\%]" in latex_table(its)
        rows = list(csv.DictReader(io.StringIO(csv_table(its))))
        assert [row["rank_intervals"] for row in rows] == [f"{kind} 95%"] * 3
        assert f", {kind} 95%: " in "\n".join(notes(its))
        console = Console(width=80, record=True, file=io.StringIO())
        for table in terminal_tables(its):
            console.print(table)
        assert f"[{kind} 95%]" in console.export_text()
    bare = Scored(rank([BASE, entry("01_A", 5.0)], find_edition(2024), BASE, simultaneous=True), scored.measured)
    assert markdown(bare).splitlines()[4].replace(" ", "").startswith("|Rank|Model|")
    assert [row["rank_intervals"] for row in csv.DictReader(io.StringIO(csv_table(bare)))] == [""] * 2
    assert "interval" not in "\n".join(notes(bare))


def test_a_sum_of_ranks_says_its_rule_and_claims_no_intervals(scored: Scored):
    rules = scored.ranking.edition
    by_ranks = Track(name="Rank sum", ranks=("runtime_ms", "flops"))
    both = rules.model_copy(update={"tracks": (by_ranks, rules.main)})
    its = replace(scored, ranking=rank(scored.measured.entries, both, scored.ranking.reference))
    assert its.ranking.has_intervals
    text = markdown(its)
    assert "| Model" in text
    assert "95%\\]" not in text
    said = notes(its)
    assert "Rank sum: sum of the ranks in Time, FLOPs. The least wins; such ranks have no intervals." in said
    main = "0.7 Score_Runtime + 0.15 Score_FLOPs + 0.15 Score_Params"
    assert f"Main: {main}, scores being exp(2 x figure / baseline's). The least wins." in said


def _together(scored: Scored) -> Ranking:
    its = scored.measured.entries
    return rank(its, scored.ranking.edition, scored.ranking.reference, simultaneous=True)


def test_an_edition_of_one_track_has_no_table_of_others():
    rules = find_edition(2024)
    alone = rules.model_copy(update={"tracks": rules.tracks[:1]})
    several, one = (
        Scored(rank([entry("01_A", 5.0), BASE], its, BASE), entries_from([make_record()], its))
        for its in (rules, alone)
    )
    assert (len(terminal_tables(several)), len(terminal_tables(one))) == (3, 2)
    assert "## Sub-tracks" in markdown(several)
    assert "## Sub-tracks" not in markdown(one)


@pytest.mark.parametrize("year", [2022, 2024])
def test_no_digit_is_lost_on_a_narrow_terminal(year: int):
    rules = find_edition(year)
    psnr_db = {"valid": 29.123, "test": 28.456}
    long = Entry("12_QuiteLongName", 123.456, 12.34e9, 0.567e6, 891.23e6, 4567.8, psnr_db)
    ranking = rank([long, BASE], rules, published_baseline(rules))
    console = Console(width=80, record=True, file=io.StringIO())
    for table in terminal_tables(Scored(ranking, entries_from([make_record()], rules))):
        console.print(table)
    text = console.export_text()
    for figure in ("12_QuiteLongName", "123.46", "12.34", "0.567", "29.12"):
        assert figure in text
    assert "891.23" in text or year > 2022
    assert "…" not in text


HOSTILE = '=HYPERLINK("x")|<b>\x1b[31m$\\input{x}_%\n\u202e'


def test_hostile_names_stay_text():
    rules = find_edition(2024)
    ranking = rank([BASE, entry(HOSTILE, 5.0, psnr_db={HOSTILE: 20.0})], rules, BASE)
    measured = entries_from([make_record()], rules)
    scored = Scored(ranking, replace(measured, sets=(HOSTILE,), device=HOSTILE))
    for text in (markdown(scored), csv_table(scored), latex_table(scored), "\n".join(notes(scored))):
        assert "\x1b" not in text
        assert "\u202e" not in text
    line = next(line for line in markdown(scored).splitlines() if "HYPERLINK" in line and line.startswith("| "))
    assert r"\|\<b\>" in line
    assert csv_table(scored).splitlines()[1].startswith("\"'=HYPERLINK")
    assert r"\$\textbackslash{}\textbackslash{}input\{x\}\_\%" in latex_table(scored)


# The command.


def test_score_as_typed(tmp_path: Path, command):
    names = ("00_RLFN", "03_PFDNLite", "05_SPAN")
    for seed, (name, scale) in enumerate(zip(names, (2, 1, 1.001), strict=True)):
        write_record(steady(name, scale, seed, second=seed), tmp_path / "run" / "records")
    write_record(make_record(label="03_PFDNLite", second=9), tmp_path / "run" / "records")
    done = command("-m", "eval", "score", "run", "--edition", "2024", "--protocol", "steady", "--save_dir", "out")
    rows = {line.split()[1]: line.split() for line in done.stdout.splitlines() if len(line.split()) == 6}
    assert rows["00_RLFN"][2:] == ["7.3891"] * 4
    assert rows["03_PFDNLite"][0] == rows["05_SPAN"][0] == "1-2"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["score.csv", "score.md", "score.tex"]
    assert "pairwise 95%: each comparison of two models holds by itself" in done.stdout
    typed = ("--edition", "2024", "--protocol", "steady", "--simultaneous", "--save_dir", "out2")
    together = command("-m", "eval", "score", "run", *typed)
    assert "simultaneous 95%: these ranges hold for all models together" in together.stdout
    assert ",simultaneous 95%," in (tmp_path / "out2" / "score.csv").read_text()
    missing = command("-m", "eval", "score", "run", "--edition", "2026", "--protocol", "official", code=1)
    assert "python -m eval run --models SPAN,PFDNLite" in missing.stderr


def test_a_published_file_is_scored_as_typed(tmp_path: Path, command):
    # Half the baseline's time, twice its FLOPs, its parameters.
    models = {"00_RLFN_baseline": result([20.0, 10.0] * 100), "01_Fast": result([5.0, 10.0] * 100, flops=40.0)}
    (tmp_path / "results.json").write_text(json.dumps(models | {"02_Low": result([1.0] * 200, [26.8, 26.9] * 100)}))
    done = command("-m", "eval", "score", "results.json", "--edition", "2024", "--out", "out")
    rows = {row["model"]: row for row in csv.DictReader((tmp_path / "out" / "score.csv").read_text().splitlines())}
    assert list(rows) == ["00_RLFN_baseline", "01_Fast", "02_Low"]
    assert float(rows["00_RLFN_baseline"]["score_final"]) == pytest.approx(E2)
    by_hand = 0.7 * math.e + 0.15 * math.exp(4) + 0.15 * E2
    assert float(rows["01_Fast"]["score_final"]) == pytest.approx(by_hand)
    assert (rows["01_Fast"]["runtime_ms"], rows["01_Fast"]["device"], rows["01_Fast"]["rank: Main"]) == ("7.5", "", "1")
    assert rows["02_Low"]["gate_rounded"] == "below"
    models["03_Uncounted"] = result([1.0, 2.0] * 100, flops=0.0, num_parameters=0.0, activations=0.0)
    (tmp_path / "uncounted.json").write_text(json.dumps(models))
    *_, uncounted = measured_from(read_results(tmp_path / "uncounted.json")).entries
    assert (uncounted.flops, uncounted.num_params, uncounted.activations) == (None, None, None)
    (first, *_) = measured_from(read_results(tmp_path / "results.json")).entries
    assert (first.flops, first.num_params, first.activations, first.peak_memory_mib) == (20e9, 3e5, 80e6, 100.0)
    text = " ".join(done.stdout.split())
    assert "nothing is known of the spread of times, so ranks have no intervals." in text
    assert "cold first image included, on valid, protocol official." in text
    assert "Time was taken on" not in text


def test_what_a_published_file_cannot_answer_is_an_error(tmp_path: Path, command):
    (tmp_path / "results.json").write_text(json.dumps({"01_Fast": result([5.0])}))
    (tmp_path / "record.json").write_text('{"schema_version": 1}')
    assert [is_published(tmp_path / name) for name in ("results.json", "record.json", "none")] == [True, False, False]
    for typed, code, message in (
        ((), 1, "--baseline measured: RLFN, the baseline of 2024, is not in it; give --baseline published"),
        (("results.json",), 2, "results.json: a published results.json must be the only argument"),
        (("--device", "cpu"), 2, "results.json: a published results.json cannot be filtered; leave --device out"),
    ):
        done = command("-m", "eval", "score", "results.json", *typed, "--edition", "2024", code=code)
        assert message in done.stderr, done.stderr
    done = command("-m", "eval", "score", "results.json", "--edition", "2024", "--baseline", "published")
    told = " ".join(done.stdout.split())
    assert "1 image on valid, of 200 in the set of 2024: no gate is applied to a part of a set." in told


def test_a_part_of_a_published_set_is_ranked_without_its_gate(tmp_path: Path):
    rules = find_edition(2024)
    models = {"00_RLFN": with_test(result([10.0] * 200)), "01_Low": with_test(result([5.0] * 200))}
    part = {"test_psnr": [26.0] * 50, "test_ave_psnr": 26.0, "test_runtime": [5.0] * 50}
    (tmp_path / "results.json").write_text(json.dumps({label: its | part for label, its in models.items()}))
    measured = measured_from(read_results(tmp_path / "results.json"))
    ranking = rank(measured.entries, rules, measured_baseline(measured, rules))
    assert places(ranking) == {"01_Low": "1", "00_RLFN": "base"}
    assert "The gate on test was not applied: no PSNR of the whole set." in notes(Scored(ranking, measured))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"A": {"flops": 1', "it ends early, at byte 17: copy or download it again"),
        ("", "got an empty file; copy or download it again"),
        ("<html><title>Sign in</title>", 'got an HTML page ("Sign in"); download it again'),
        ("[]", "expected an object of at least one model, got a list"),
    ],
)
def test_a_damaged_file_is_told_by_score_in_the_words_of_audit(tmp_path: Path, command, text: str, message: str):
    (tmp_path / "results.json").write_text(text)
    for done in (
        command("-m", "eval", "score", "results.json", "--edition", "2026", code=1),
        command("-m", "eval", "audit", "results.json", code=1),
    ):
        assert message in done.stderr
        assert "schema version" not in done.stderr


def test_report_says_which_commands_read_a_results_file(tmp_path: Path, command):
    (tmp_path / "results.json").write_text(json.dumps({"01_Fast": result([5.0])}))
    done = command("-m", "eval", "report", "results.json", code=1)
    assert "results.json: is no record but a results.json" in done.stderr
    assert "`eval score` and `eval audit` read it" in done.stderr


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"flops": 10.69e9}, "03_Odd flops 1.069e+10, median 20. They were used as they stand."),
        ({"num_parameters": 300.0}, "03_Odd num_parameters 300, median 0.3."),
        ({"activations": 0.08}, "03_Odd activations 0.08, median 80."),
        ({"valid_ave_runtime": 2.5}, "03_Odd valid_ave_runtime 2.5, of its values 5"),
        ({}, "Not every model has test figures: averages, ranks and orders are of valid alone."),
    ],
)
def test_what_makes_a_ranking_doubtful_is_told_by_score_and_audit(tmp_path: Path, command, changes: dict, told: str):
    models = {name: with_test(result([10.0, 10.0])) for name in ("00_SPAN", "01_A", "02_B")}
    odd = result([5.0, 5.0]) | changes
    (tmp_path / "results.json").write_text(json.dumps(models | {"03_Odd": with_test(odd) if changes else odd}))
    for name in ("score", "audit"):
        done = command("-m", "eval", name, "results.json", "--edition", "2026")
        assert told in " ".join(done.stdout.split())
    (tmp_path / "results.json").write_text(json.dumps(models))
    done = command("-m", "eval", "score", "results.json", "--edition", "2026")
    assert not any(words in done.stdout for words in ("Stated means", "median", "Not every model"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"valid_runtime": [0.01], "valid_ave_runtime": 0.01}, "valid_runtime 0.01, baseline 8. They were used"),
        ({"num_parameters": 151_000.0}, "num_parameters 151000, baseline 0.151"),
        ({"flops": 9.83e9}, "flops 9.83e+09, baseline 9.83"),
        ({}, ""),
    ],
)
def test_a_unit_that_is_wrong_in_all_models_is_told(tmp_path: Path, command, changes: dict, told: str):
    models = {name: result([10.0]) | changes for name in ("00_SPAN", "01_A", "02_B")}
    (tmp_path / "results.json").write_text(json.dumps(models))
    for name in ("score", "audit"):
        done = " ".join(command("-m", "eval", name, "results.json", "--edition", "2026").stdout.split())
        assert ("published figure of SPAN, the baseline of 2026" in done) == bool(told)
        assert told in done


def test_flops_that_are_too_few_are_told_by_score(tmp_path: Path, command):
    models = {"00_SPAN": result([10.0]), "01_Few": result([5.0]) | {"flops": 1.0}}
    (tmp_path / "results.json").write_text(json.dumps(models))
    done = command("-m", "eval", "score", "results.json", "--edition", "2026")
    assert "(strided or pooled branches and scans also come out low): 01_Few 1.00 G against" in done.stdout


def test_a_file_of_more_images_than_the_set_has_is_not_ranked(command, tmp_path: Path):
    (tmp_path / "results.json").write_text(json.dumps({"01_Fast": result([10.0] * 201)}))
    done = command("-m", "eval", "score", "results.json", "--edition", "2024", "--baseline", "published", code=1)
    assert "results.json: 201 images on valid, 1 more than the set of 2024 has (200)" in done.stderr


def test_the_published_file_of_2026_is_ranked_as_in_its_audit(published: Path):
    path = published / "ntire2026_results.json"
    measured, rules = measured_from(read_results(path)), find_edition(2026)
    ranking = rank(measured.entries, rules, published_baseline(rules, measured.roles))
    assert ranking.rows == audit(path.name, read_results(path)).ranking.rows
    measured_one = measured_baseline(measured, rules)
    (base,) = (row for row in rank(measured.entries, rules, measured_one).rows if row.is_baseline)
    assert base.places["Main"].total == pytest.approx(E2)


def test_a_key_that_editions_no_longer_have_may_be_deleted(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(edition_text(2999, 2026).replace("year = 2999\n", 'year = 2999\nties = "shared"\n'))
    with pytest.raises(RunError, match=r"mine\.toml: .*the key ties was dropped.*delete its line"):
        find_edition(str(path))


def test_a_file_of_an_edition_whose_rule_is_unknown_cannot_be_ranked(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(edition_text(2999, 2023))
    assert find_edition(str(path), for_ranking=False).year == 2999
    with pytest.raises(UsageError, match=r"mine\.toml: cannot be ranked: its overall ranking"):
        find_edition(str(path))
    path.write_text(edition_text(2999, 2026))
    assert find_edition(str(path)).main.name == "Main"


def test_whatever_an_edition_weighs_has_a_score_of_its_own():
    assert SCORES.keys() == set(get_args(Metric))
    assert len(set(SCORES.values())) == len(SCORES)


def test_a_figure_that_was_not_taken_is_no_worse_one():
    """By the rules of 2022 the runtime alone ranks, and parameters are to keep up with the baseline's."""
    rules = find_edition(2022)
    base = published_baseline(rules)
    more, unknown = (
        replace(base, label=f"0{n}_X", num_params=count) for n, count in ((1, 2 * base.num_params), (2, None))
    )
    worse = {row.entry.label: row.places[rules.main.name].worse for row in rank([more, unknown], rules, base).rows}
    assert worse == {"01_X": ("num_params",), "02_X": ()}
