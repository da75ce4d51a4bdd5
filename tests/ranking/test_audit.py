"""The audit of published results: figures by hand, the challenge's own files, and files that cannot be."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.cli.app import app
from eval.errors import RunError, UsageError
from eval.intervals import Interval
from eval.ranking.audit import MOST_COMPARED, Audit, Neighbours, audit
from eval.ranking.editions import find_edition
from eval.ranking.from_results_json import is_published, read_results
from eval.report.audits.as_json import as_json
from eval.report.audits.beside import differences
from eval.report.audits.findings import findings
from eval.report.audits.tables import markdown, recomputed_table, sections, terminal_tables, write
from eval.words import visible
from tests.conftest import PROJECT


def result(times: list[float], psnrs: list[float] | None = None, **changes) -> dict:
    """Make one model of a results.json whose means fit its values."""
    psnrs = psnrs or [27.0] * len(times)
    fields = {
        "valid_runtime": times,
        "valid_psnr": psnrs,
        "valid_memory": 100.0,
        "valid_ave_runtime": sum(times) / len(times),
        "valid_ave_psnr": sum(psnrs) / len(psnrs),
        "activations": 80.0,
        "num_conv": 39,
        "flops": 20.0,
        "num_parameters": 0.3,
    }
    return fields | changes


def with_test(fields: dict) -> dict:
    """Give a model the same values on the test set."""
    return fields | {key.replace("valid", "test"): value for key, value in fields.items() if key.startswith("valid")}


@pytest.fixture
def audited(tmp_path: Path):
    """Audit what is given as the content of a file."""

    def run(content: dict, year: int | None = None) -> Audit:
        path = tmp_path / "results.json"
        path.write_text(json.dumps(content))
        return audit(path.name, read_results(path), find_edition(year) if year else None)

    return run


def test_a_planted_cold_start_by_hand(audited):
    # 110 + 19 x 10 is 300, so the mean is 15 ms; without the first image it is 10.
    found = audited({"Cold": result([110.0] + [10.0] * 19), "Warm": result([12.0] * 20)})
    assert found.speeds["Cold"].mean_ms == {0: 15.0, 1: 10.0, 10: 10.0}
    assert found.speeds["Cold"].rank == {0: 2, 1: 1, 10: 1}
    assert found.speeds["Warm"].rank == {0: 1, 1: 2, 10: 2}
    text = "\n".join(findings(found))
    assert "Cold 15.00 -> 10.00 ms on valid (+50%; first image 110.0)" in text
    assert "Warm 12.00 < 15.00 Cold becomes 12.00 > 10.00 ms" in text
    (cold,) = (row for row in sections(found)[0].table.rows if row[0].text == "Cold")
    assert [cell.text for cell in cold] == ["Cold", "valid", "110.00", "15.00", "10.00", "10.00", "33.3%"]
    (pair,) = (pair for pair in found.neighbours if pair.figure == "runtime_ms")
    assert (pair.first, pair.second, pair.gap, pair.difference.estimate) == ("Warm", "Cold", 3.0, -2.0)
    assert pair.verdict == "reversed in this pass"


def test_averages_are_of_both_sets_without_the_first_images_of_each(audited):
    fields = with_test(result([30.0, 10.0])) | {"test_runtime": [20.0, 6.0], "test_ave_runtime": 13.0}
    speed = audited({"A": fields}).speeds["A"]
    assert speed.mean_ms == {0: (20 + 13) / 2, 1: (10 + 6) / 2, 10: None}
    assert speed.rank == {0: 1, 1: 1, 10: None}


def test_a_tie_is_not_separable_and_a_clear_order_is_settled(audited):
    noise = np.random.default_rng(0).normal(0, 0.2, (3, 60))
    images = np.random.default_rng(1).uniform(5, 20, 60)
    times = {
        name: (images + offset + row).tolist() for name, offset, row in zip("ABC", (0, 0.001, 5), noise, strict=True)
    }
    found = audited({name: result(values) for name, values in times.items()})
    verdicts = {frozenset((p.first, p.second)): p.verdict for p in found.neighbours if p.figure == "runtime_ms"}
    assert verdicts[frozenset("AB")] == "not separable"
    assert sorted(verdicts.values()) == ["apart in this pass", "not separable"]


def test_flops_under_the_bound_by_hand(audited):
    # 0.5 M parameters at 65,536 positions: 32.768 G; the bound itself, 0.8 of it, is no undercount.
    counts = {"Low": 0.8 * 32.768 - 1e-9, "Enough": 0.8 * 32.768}
    found = audited({name: result([1.0, 1.0], flops=flops, num_parameters=0.5) for name, flops in counts.items()})
    assert list(found.undercounts) == ["Low"]
    assert found.undercounts["Low"].bound == 500_000 * 65536
    assert "Low 26.21 G against 32.77 G" in "\n".join(findings(found))


def test_the_gate_names_who_passes_by_rounding_only(audited):
    models = {"Near": result([1.0] * 200, [26.895, 26.897] * 100), "Below": result([1.0] * 200, [26.0] * 200)}
    models["Over"] = result([1.0] * 200)
    text = "\n".join(findings(audited(models, 2024)))
    assert "reached only by rounding by: Near 26.89600 on valid." in text
    assert "Below the gate even as printed: Below 26.00000 on valid." in text
    assert "give --edition" in "\n".join(findings(audited(models)))


def test_a_stated_mean_that_is_not_the_values_mean(audited):
    # From a billionth on.
    stated = {"A": 1.5, "Rounded": 2 * (1 + 1e-10), "Wrong": 2 * (1 + 1e-8)}
    found = audited({name: result([1.0, 3.0], valid_ave_runtime=mean) for name, mean in stated.items()})
    assert found.misstated == {(name, "valid_ave_runtime"): (stated[name], 2.0) for name in ("A", "Wrong")}
    assert "A valid_ave_runtime 1.5, of its values 2;" in "\n".join(findings(found))
    assert recomputed_table(found).splitlines()[1].split("\t")[2].strip() == "2.00"


def test_the_table_character_by_character(audited):
    assert recomputed_table(audited({"00_A": result([1.0, 2.005])})) == (
        "Model               \tVal PSNR  \tVal Time [ms] \tParams [M]\tFLOPs [G] \tActs [M]\tMem [M] \tConv    \n"
        "00_A                \t27.00     \t1.50          \t0.300     \t20.00     \t80.00   \t100.00  \t  39    \n"
    )
    mixed = recomputed_table(audited({"00_A": with_test(result([1.0, 2.0])), "01_B": result([1.0, 2.0])}))
    assert [cell.strip() for cell in mixed.splitlines()[2].split("\t")][:6] == ["01_B", "27.00", "-", "1.50", "-", "-"]


@pytest.mark.parametrize(
    ("gap", "interval", "verdict"),
    [
        (1.0, (0.5, 1.5), "settled"),
        (-1.0, (-1.5, -0.5), "settled"),
        (1.0, (-1.5, -0.5), "reversed"),
        (-1.0, (0.5, 1.5), "reversed"),
        (1.0, (-0.5, 1.5), "not separable"),
        (1.0, (0.0, 1.5), "not separable"),
        # Of equal means the second one stands behind by name: what is greater there confirms the order.
        (0.0, (0.5, 1.5), "settled"),
        (0.0, (-1.5, -0.5), "reversed"),
    ],
)
def test_verdicts_by_hand(gap: float, interval: tuple[float, float], verdict: str):
    difference = Interval(sum(interval) / 2, *interval)
    found = Neighbours("runtime_ms", "valid", "A", "B", gap, difference).verdict
    # One pass tells nothing of the next one.
    assert found == {"settled": "apart in this pass", "reversed": "reversed in this pass"}.get(verdict, verdict)
    if gap:
        assert Neighbours("psnr_db", "valid", "A", "B", gap, difference).verdict == verdict


@pytest.mark.parametrize(("interval", "verdict"), [((-1.5, -0.5), "settled"), ((0.5, 1.5), "reversed")])
def test_of_equal_psnr_the_order_is_confirmed_where_the_second_has_less(interval: tuple[float, float], verdict: str):
    """Two means are equal where both hold an identical image; the rest tells."""
    difference = Interval(sum(interval) / 2, *interval)
    assert Neighbours("psnr_db", "valid", "A", "B", 0.0, difference).verdict == verdict


@pytest.mark.parametrize(
    ("flops", "num_parameters", "year"),
    [
        (19.67, 0.317, 2024),
        (19.6749, 0.31749, 2024),
        (19.6651, 0.31651, 2024),
        (19.676, 0.317, None),
        (19.67, 0.318, None),
    ],
)
def test_an_edition_is_told_by_its_baseline_as_printed(audited, flops: float, num_parameters: float, year: int | None):
    found = audited({"000_RLFN_baseline": result([1.0, 2.0], flops=flops, num_parameters=num_parameters)})
    assert (found.edition and found.edition.year) == year


def test_scores_are_against_the_baselines_time_on_the_same_sets(audited):
    baseline = find_edition(2025).baseline
    fields = result([7.0, 9.0])
    alone = audited({"A": fields}, 2025)
    assert alone.ranking.reference.runtime_ms == baseline.runtime_valid_ms != baseline.runtime_ms
    both = audited({"A": with_test(fields)}, 2025)
    assert both.ranking.reference.runtime_ms == baseline.runtime_ms
    assert alone.ranking.rows[0].scores["runtime_ms"] == pytest.approx(math.exp(2 * 8 / baseline.runtime_valid_ms))


def test_the_rules_of_2022_rank_by_memory_too(audited):
    figures = {"A": {"valid_memory": 300.0}, "B": {"valid_memory": 200.0}}
    found = audited({name: result([5.0, 5.0], [29.0, 29.0], **its) for name, its in figures.items()}, 2022)
    # Equal in four of five figures, and second in memory.
    totals = {row.entry.label: row.places["Sub-track 2: overall"].total for row in found.ranking.rows}
    assert totals == {"A": 4 * 1 + 2, "B": 5}


# Files that cannot be.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file; copy or download it again"),
        ('{"A": {"flops": 1', "it ends early, at byte 17: copy or download it again"),
        ('{"A": {"flo', "it ends early, at byte 11"),
        ("version https://git-lfs.github.com/spec/v1", "a Git LFS pointer, not the file itself; run git lfs pull"),
        ("Model\t26.9", "Expecting value"),
        ("[]", "got a list"),
        ("3", "got a int"),
        ("{}", "got an empty object"),
        ('{"A": {}, "A": {}}', "every name must be unique, repeated: 'A'"),
        ('{"A": {"flops": 1, "flops": 2}}', "repeated: 'flops'"),
        ('{"A": 3}', "'A': the whole"),
        ("[" * 100_000, "test_demo.py writes"),
        ('{"A": ' + "9" * 5000 + "}", "test_demo.py writes"),
        ("\ufeff{}", "got an empty object"),
    ],
)
def test_what_is_no_results_file_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value)


def test_no_file_and_no_text(tmp_path: Path):
    with pytest.raises(UsageError, match=r"absent\.json: no such file"):
        read_results(tmp_path / "absent.json")
    (tmp_path / "binary.json").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(RunError, match=r"binary\.json: expected the JSON"):
        read_results(tmp_path / "binary.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flops": None}, "flops: Input should be a valid number"),
        ({"flops": "9.8"}, "flops: Input should be a valid number"),
        ({"flops": True}, "flops: Input should be a valid number"),
        ({"flops": -1.0}, "flops: Input should be greater than or equal to 0"),
        ({"flops": 10**400}, "flops"),
        ({"flops": math.nan}, "flops: Value error, NaN is no figure"),
        ({"flops": -math.inf}, "flops: Input should be a finite number"),
        ({"num_conv": math.nan}, "num_conv: Input should be a"),
        ({"valid_psnr": [27.0, math.nan]}, "valid_psnr.1: Value error, NaN is no figure"),
        ({"valid_psnr": [27.0, -math.inf]}, "valid_psnr.1: Input should be greater than or equal to 0"),
        ({"valid_runtime": [math.nan, 1.0]}, "valid_runtime.0: Value error, NaN is no figure"),
        ({"flops": 1e300}, "flops: Input should be less than or equal to 1000000000000"),
        ({"valid_runtime": [1.0, "2"]}, "valid_runtime.1: Input should be a valid number"),
        ({"valid_runtime": [1.0, -2.0]}, "valid_runtime.1: Input should be greater than 0"),
        ({"valid_runtime": [1.0, 0.0]}, "valid_runtime.1: Input should be greater than 0"),
        ({"valid_runtime": 3.0}, "valid_runtime: Input should be a valid tuple"),
        ({"valid_runtime": [], "valid_psnr": []}, "valid_runtime: Tuple should have at least 1"),
        ({"valid_psnr": [27.0, 27.0, 27.0]}, "valid_runtime has 2 values and valid_psnr 3"),
        ({"test_runtime": [1.0, 1.0]}, "give all or none"),
        ({"test_ave_runtime": 1.0}, "give all or none"),
        ({"test_runtime": [1.0], "test_psnr": [27.0]}, "give all or none"),
        ({"valid_psnr": [1e300, 1.0]}, "or Infinity for identical images"),
        ({"valid_runtime": [math.inf, 1.0]}, "valid_runtime.0: Input should be"),
        ({"num_conv": 3.5}, "num_conv: Input should be a valid integer"),
    ],
)
def test_a_value_that_cannot_be_is_named(tmp_path: Path, change: dict, message: str):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"Good": result([1.0, 2.0]), "Bad": result([1.0, 2.0]) | change}))
    with pytest.raises(RunError, match=message) as caught:
        read_results(path)
    assert "'Bad': " in str(caught.value)
    assert "'Good'" not in str(caught.value)


@pytest.mark.parametrize("key", list(result([1.0])))
def test_a_missing_key_is_named(tmp_path: Path, key: str):
    fields = result([1.0, 2.0])
    del fields[key]
    (tmp_path / "results.json").write_text(json.dumps({"Bad": fields}))
    with pytest.raises(RunError, match=f"'Bad': .*{key}"):
        read_results(tmp_path / "results.json")


def test_overflowing_numbers_and_models_of_other_lengths_are_refused(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"A": result([1.0, 2.0])}).replace("20.0", "1e999"))
    with pytest.raises(RunError, match="flops: Input should be a finite number"):
        read_results(path)
    path.write_text(json.dumps({"A": result([1.0, 2.0]), "B": result([1.0])}))
    with pytest.raises(RunError, match="'B': valid_runtime has 1 values, that of 'A' has 2"):
        read_results(path)


@pytest.mark.parametrize("odd", ["A", "C"])
def test_of_lists_of_other_lengths_those_are_named_that_differ_from_most(tmp_path: Path, odd: str):
    path = tmp_path / "results.json"
    models = {name: with_test(result([1.0, 2.0])) for name in "ABCD"}
    path.write_text(json.dumps(models | {odd: with_test(result([1.0]))}))
    usual = "B" if odd == "A" else "A"
    with pytest.raises(RunError) as caught:
        read_results(path)
    assert str(caught.value).splitlines()[1:] == [
        f"  '{odd}': {role}_runtime has 1 values, that of '{usual}' has 2, as 3 of 4 have" for role in ("valid", "test")
    ]


def test_faults_of_all_kinds_are_listed_together(tmp_path: Path):
    path, two = tmp_path / "results.json", result([1.0, 2.0])
    models = {"Good": two, "Same": two, "NaN": two | {"flops": math.nan}, "Below": two | {"flops": -1.0}}
    path.write_text(json.dumps(models | {"Short": result([1.0])}))
    with pytest.raises(RunError) as caught:
        read_results(path)
    assert [line.split("'")[1] for line in str(caught.value).splitlines()[1:]] == ["NaN", "Below", "Short"]


@pytest.mark.parametrize(("models", "more"), [(30, ["  and 20 more"]), (10, [])])
def test_many_faults_are_cut_short(tmp_path: Path, models: int, more: list[str]):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({f"m{i}": result([1.0]) | {"valid_psnr": ["x"] * 500} for i in range(models)}))
    with pytest.raises(RunError) as caught:
        read_results(path)
    assert str(caught.value).splitlines()[11:] == more
    assert len(str(caught.value)) < 6000


def test_neighbours_in_psnr_have_the_gap_of_their_means(audited):
    means = {"A": 27.5, "B": 27.0, "C": 27.0}
    found = audited({name: result([1.0, 1.0], [db - 1, db + 1]) for name, db in means.items()})
    gaps = {pair.first + pair.second: pair.gap for pair in found.neighbours if pair.figure == "psnr_db"}
    assert gaps == {"AB": -0.5, "BC": 0.0}


def test_one_image_is_enough(audited):
    found = audited({"A": result([1.0]), "B": result([2.0])})
    assert found.speeds["A"].mean_ms == {0: 1.0, 1: None, 10: None}
    assert "No model's first image" in "\n".join(findings(found))
    assert markdown(found)


def test_of_many_models_only_the_first_are_compared(tmp_path: Path):
    random = np.random.default_rng(0)
    models = {
        f"{i:04}_Model": result(random.uniform(5, 50, 20).tolist(), random.uniform(20, 35, 20).tolist())
        for i in range(MOST_COMPARED + 11)
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(models))
    found = audit(path.name, read_results(path), find_edition(2026))
    write(found, tmp_path / "out")
    # None of the gate: these are a part of the set.
    assert len(terminal_tables(found)) == 6
    assert len(found.neighbours) == 2 * MOST_COMPARED
    assert f"Only the first {MOST_COMPARED} places" in "\n".join(findings(found))
    assert (tmp_path / "out" / "audit.md").read_text().count("0060\\_Model") > 3


# Names.

HOSTILE = [
    "| a | b |\n\n# heading <script>alert(1)</script> [x](javascript:1)",
    "\x1b[2J\x1b]0;title\x07",
    "```\n\n**bold**",
    "\u202eevil",
    "\\input{x}_$%",
    '=cmd|"/c calc"!A1',
    "\ud800",
    "",
    "  11_Padded ",
]


def test_hostile_names_stay_text(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({name: result([2.0, 1.0]) for name in HOSTILE}))
    found = audit(path.name, read_results(path), find_edition(2024))
    paths = write(found, tmp_path / "out")
    for text in (*(path.read_text(encoding="utf-8") for path in paths), recomputed_table(found), *findings(found)):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    lines = markdown(found).splitlines()
    assert not [line for line in lines if line.startswith(("# heading", "**bold"))]
    fences = [line for line in lines if line.startswith("````")]
    assert fences == ["````text", "````"]
    assert len([line for line in lines if line.startswith("| ") and "script" in line]) >= 4
    outside = [*lines[: lines.index(fences[0])], *lines[lines.index(fences[1]) :]]
    assert "<script>" not in "\n".join(outside)
    assert len(recomputed_table(found).splitlines()) == 1 + len(HOSTILE)
    assert recomputed_table(found).splitlines()[-1].startswith("  11_Padded         \t")
    names = [model["name"] for model in json.loads(as_json(found))["models"]]
    assert names == HOSTILE


def test_what_does_not_print_is_written_out_and_stays_apart():
    assert visible("a\x1bb") == r"a\x1bb"
    assert visible(r"a\x1bb") == r"a\\x1bb"
    assert visible("é漢 _") == "é漢 _"


# The challenge's own files.


@pytest.fixture(scope="session")
def audit_2026(published: Path) -> Audit:
    path = published / "ntire2026_results.json"
    return audit(path.name, read_results(path))


def test_the_table_of_2026_is_its_results_txt(audit_2026: Audit, published: Path):
    assert recomputed_table(audit_2026) == (published / "ntire2026_results.txt").read_text()


def test_what_the_file_of_2026_hides(audit_2026: Audit):
    text = "\n".join(findings(audit_2026))
    assert audit_2026.edition.year == 2026
    assert "22_SPANV2_ESR_C2 1.59 G against 9.12 G" in text
    assert "05_SPANMamba_single_1_4T05 33.40 G against 72.48 G; 12_DWMamba 19.34 G against 44.15 G" in text
    assert "Score_Final 3.87 -> 4.37, rank in FLOPs 1 -> 6" in text
    assert "00_SPAN 7.74 < 7.88 15_DSCF_Fused becomes 7.72 > 7.56 ms" in text
    assert "01_PDS and 16_PKDSR_FINAL_CKPT on valid" in text
    near = {name for name, verdicts in audit_2026.verdicts.items() for v in verdicts if v.rounded and not v.strict}
    assert near == {"01_PDS", "04_ZenoSR", "         11_VSCINet", "17_AMCANet", "15_DSCF_Fused"}
    below = {name for name, verdicts in audit_2026.verdicts.items() for v in verdicts if not v.rounded}
    assert below == {"21_SAFMN", "009_RFDN_SPAN"}
    assert audit_2026.misstated == {}


def test_two_teams_of_2026_cannot_be_told_apart(audit_2026: Audit):
    (pair,) = (
        pair
        for pair in audit_2026.neighbours
        if (pair.first, pair.role, pair.figure) == ("01_PDS", "valid", "runtime_ms")
    )
    assert pair.second == "16_PKDSR_FINAL_CKPT"
    assert pair.difference.estimate == pytest.approx(0.0557, abs=5e-5)
    assert pair.difference.covers(0)


def test_what_the_files_of_2024_hide(published: Path):
    path = published / "ntire2024_baseline_results.json"
    baseline = audit(path.name, read_results(path))
    assert "00_RLFN_baseline 14.94 -> 9.82 ms on valid (+52%; first image 1033.8)" in "\n".join(findings(baseline))
    path = published / "ntire2024_bsr_results.json"
    ours = audit(path.name, read_results(path))
    text = "\n".join(findings(ours))
    assert "00_RLFN_baseline 12.52 -> 9.24 ms on valid" in text
    assert "01_PFDN_Lite 8.82 -> 6.92 ms on valid" in text
    assert "reached only by rounding by: 01_PFDN_Lite 26.89943 on valid" in text
    (pair,) = (pair for pair in ours.neighbours if pair.figure == "psnr_db")
    assert pair.difference.estimate == pytest.approx(-0.0557, abs=5e-5)
    assert pair.verdict == "settled"
    assert ours.roles == ("valid",)


def test_audit_as_typed(tmp_path: Path, command):
    span = result([70.0, 7.0], flops=9.833807872, num_parameters=0.150688)
    (tmp_path / "results.json").write_text(json.dumps({"00_SPAN": span, "01_\x1b[31m": result([8.0, 7.5])}))
    done = command("-m", "eval", "audit", "results.json", "--out", "out")
    assert done.stdout.startswith("Model               \tVal PSNR")
    assert "\x1b" not in done.stdout
    assert "00_SPAN 38.50 -> 7.00 ms on valid" in done.stdout
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["edition"] == 2026
    (tmp_path / "results.json").write_text("{}")
    refused = command("-m", "eval", "audit", "results.json", code=1)
    assert refused.stdout == ""
    assert "results.json: expected an object of at least one model" in refused.stderr


@pytest.mark.parametrize(
    ("kept", "files"),
    [
        ("audit-2024.json", ["ntire2024_baseline_results.json", "ntire2024_bsr_results.json"]),
        ("audit-2026.json", ["ntire2026_results.json"]),
    ],
)
def test_the_kept_audits_say_what_the_files_say(published: Path, kept: str, files: list[str]):
    content = json.loads((PROJECT / "docs" / "results" / kept).read_text())
    kept_audits = content if isinstance(content, list) else [content]
    for kept_audit, name in zip(kept_audits, files, strict=True):
        assert kept_audit["findings"] == findings(audit(name, read_results(published / name)))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_saved_with_a_mark_is_read(tmp_path: Path, encoding: str):
    path = tmp_path / "results.json"
    path.write_bytes(json.dumps({"A": result([10.0, 11.0])}).encode(encoding))
    assert read_results(path)["A"].valid_runtime == (10.0, 11.0)
    assert is_published(path)


def test_a_test_phase_without_psnr_is_audited_for_its_times(audited):
    hidden = {"test_runtime": [20.0, 22.0], "test_ave_runtime": 21.0, "test_memory": 100.0, "test_psnr": []}
    found = audited({"A": result([10.0, 12.0]) | hidden, "B": result([11.0, 12.0]) | hidden})
    assert found.roles == ("valid", "test")
    assert found.speeds["A"].mean_ms[0] == 16.0
    assert {pair.role for pair in found.neighbours if pair.figure == "psnr_db"} == {"valid"}
    assert any("Times on test without PSNR" in text and "A; B" in text for text in findings(found))
    assert json.loads(as_json(found))["models"][0]["sets"]["test"]["psnr_db"] is None
    assert recomputed_table(found).splitlines()[1].split("\t")[2].strip() == "-"


def test_more_images_than_the_set_has_pass_no_gate(audited):
    found = audited({"A": result([10.0] * 203, [27.0] * 203)}, 2024)
    assert found.sizes == {"valid": (203, 200)}
    assert found.verdicts == {"A": ()}
    assert found.ranking is None
    assert any("203 images on valid, 3 more than the set of 2024 has (200)" in text for text in findings(found))
    assert "No gate was applied, and nothing ranked." in findings(found)
    assert audited({"A": result([10.0] * 200)}, 2024).sizes == {}


def test_fewer_images_than_the_set_has_are_told(audited):
    found = audited({"A": result([10.0] * 199, [27.0] * 199)}, 2024)
    assert "199 images on valid, of 200 in the set of 2024: no gate is applied to a part of a set." in findings(found)
    assert found.ranking is not None


def test_a_part_of_the_set_passes_no_gate_and_fails_none(audited):
    found = audited({"A": result([10.0] * 50, [26.0] * 50)}, 2024)
    assert found.verdicts == {"A": ()}
    assert [row.places["Main"].rank for row in found.ranking.rows] == [1]
    assert not any("elow the gate" in text for text in findings(found))
    both = audited(
        {"A": with_test(result([10.0] * 200)) | {"test_psnr": [27.0] * 50, "test_runtime": [10.0] * 50}}, 2024
    )
    assert [verdict.role for verdict in both.verdicts["A"]] == ["valid"]


def test_our_own_files_are_recognised(audited, tmp_path: Path):
    path = tmp_path / "audit.json"
    path.write_text(as_json(audited({"A": result([10.0, 11.0])})))
    with pytest.raises(RunError, match=r"is an audit that this program wrote, of results.json: give that file"):
        read_results(path)
    path.write_text('{"schema_version": 1}')
    with pytest.raises(RunError, match=r"is a record of this program"):
        read_results(path)


def test_a_results_txt_that_says_something_else(audited, tmp_path: Path):
    table = recomputed_table(audited({"A": result([10.0, 11.0]), "B": result([12.0, 13.0])}))
    file = tmp_path / "results.txt"
    file.write_text(table)
    assert differences(file, table) == []
    file.write_text(table.replace("10.50", "10.5").replace("27.00", "27.004"))
    assert differences(file, table) == []
    file.write_text(table.replace("10.50", "9.80").replace("B   ", "C   "))
    assert differences(file, table) == ["A: Val Time [ms] 9.80, of its values 10.50", "B: is not there"]


def test_the_command_says_what_a_results_txt_says(tmp_path: Path):
    (tmp_path / "results.json").write_text(json.dumps({"A": result([10.0, 11.0])}))
    (tmp_path / "results.txt").write_text("Model\tPSNR\nA\t27.00\n")
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "results.json"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "- results.txt beside it says something else: A: has other columns." in done.stdout


def test_a_set_where_the_slower_of_both_is_faster_reverses_no_order(audited):
    first = with_test(result([10.0] * 12)) | {"test_runtime": [21.0] * 12, "test_ave_runtime": 21.0}
    found = audited({"A": first, "B": with_test(result([20.0] * 12))})
    pairs = {pair.role: pair for pair in found.neighbours if pair.figure == "runtime_ms"}
    assert {role: pair.verdict for role, pair in pairs.items()} == dict.fromkeys(
        ("valid", "test"), "apart in this pass"
    )
    assert "wrong way round" not in "\n".join(findings(found))
