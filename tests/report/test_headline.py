"""What a page says first: who is first by which rule, what is settled, and what is not."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eval.intervals import Interval, paired_difference
from eval.ranking.comparison import Side
from eval.ranking.editions import Edition, Track, all_editions, find_edition
from eval.records.current import current
from eval.records.record import Record
from eval.records.store import read_record, write_record
from eval.report.board import Board, make_boards
from eval.report.columns import LABEL
from eval.report.escapes import markdown_text
from eval.report.headline import _runtime_words
from eval.report.page.writing import PageOptions, gather, write_page
from eval.report.tables import markdown_leaderboard
from eval.timing.samples import Ratio
from tests.conftest import Command
from tests.records.test_record import changed, make_record
from tests.report.test_page import renamed
from tests.report.test_tables import steady
from tests.run.test_runner import timing_of

PSNRS = {
    "00_RLFN": (30.0, 24.0, 27.0, 28.0, 27.2, 27.3),
    "02_PFDN": (29.9, 24.1, 26.9, 28.0, 27.1, 27.4),
    "05_SPAN": (29.0, 23.0, 26.0, 27.1, 26.2, 26.3),
}


def timed(label: str, ms: float, psnrs: tuple[float, ...], jitter: float = 0.01) -> Record:
    """A record of the steady protocol with ten rounds, its times spread by a share."""
    record = make_record(psnrs, label=label, settings=steady(label, ms, None).settings)
    rows = np.random.default_rng(len(label)).normal(ms, jitter * ms, (len(psnrs), 10))
    names = tuple(image.name for image in record.images)
    estimate = ms / 20
    ratio = Ratio(baseline="00_RLFN", estimate=estimate, low=estimate * 0.99, high=estimate * 1.01)
    timing = timing_of(tuple(map(tuple, rows.tolist())), group="one", image_names=names, ratio=ratio)
    means = record.means | {"runtime_ms": record.means["psnr_db"].model_copy(update={"mean": ms})}
    return changed(record, timing=timing, means=means)


def boards(*records: Record, year: int | None = None) -> Board:
    (board,) = make_boards(current(records), year and find_edition(year))
    return board


def years_of(*baselines: str) -> list[int]:
    """The editions that rank and whose baseline is among these, the newest first."""
    found = (its.year for its in all_editions().values() if its.tracks and its.baseline.model in baselines)
    return sorted(found, reverse=True)


def test_a_score_that_equals_the_baselines_is_neither_before_nor_behind_it():
    baseline, same = (timed("00_RLFN", 20.0, PSNRS["00_RLFN"]), timed("02_PFDN", 20.0, PSNRS["02_PFDN"]))
    claim = boards(baseline, same, year=2024).headline.claim
    only = "02_PFDN is the only model ranked by the rules of NTIRE 2024"
    assert claim == f"{only} with a score of 7.39, equal to that of the unranked baseline 00_RLFN (less is better)."


@pytest.fixture(scope="module")
def three() -> list[Record]:
    return [timed(label, ms, PSNRS[label]) for label, ms in (("00_RLFN", 20.0), ("02_PFDN", 16.0), ("05_SPAN", 15.0))]


def test_it_names_the_first_its_rule_its_gain_and_what_cannot_be_told_apart(three: list[Record]):
    board = boards(*three, year=2024)
    claim = r"05_SPAN is first of 2 by the rules of NTIRE 2024 with a score of \d\.\d\d, before the unranked baseline "
    assert re.fullmatch(claim + r"00_RLFN with 7\.39 \(less is better\)\.", board.headline.claim)
    settled, faster, psnr, gate = board.headline.details
    assert settled == "The first place is settled (95%, for each pair of models separately)."
    assert re.fullmatch(r"05_SPAN takes 2[45]\.\d% less time than 00_RLFN \[2[45]\.\d, 2[56]\.\d\]\.", faster)
    assert psnr == "In PSNR, 05_SPAN is below 00_RLFN and 02_PFDN (95%, 6 images)."
    assert gate.startswith("No minimum PSNR is set for Set2")


def test_a_baseline_that_beats_the_first_is_said_to_and_stands_at_its_scores_place(three: list[Record]):
    board = boards(*three, year=2026)
    assert board.headline.claim.startswith("02_PFDN is first of 2 by the rules of NTIRE 2026")
    assert board.headline.claim.endswith(", behind the unranked baseline 05_SPAN with 7.39 (less is better).")
    cells = {row.label: row.cell("rank") for row in board.rows}
    assert cells["05_SPAN"].text == "base"
    order = sorted(cells, key=lambda label: cells[label].value)
    assert order[0] == "05_SPAN"
    assert board.rows[2].reason == "baseline, not ranked"
    between = boards(
        timed("00_RLFN", 20.0, PSNRS["00_RLFN"]),
        *three[1:],
        timed("04_EFDN", 40.0, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
        year=2024,
    )
    assert [row.cell("rank").value for row in between.rows] == [2.5, 2, 3, 1]


def test_an_open_first_place_names_who_may_have_it():
    noisy = [timed(label, ms, PSNRS["00_RLFN"], 0.3) for label, ms in (("00_RLFN", 20.0), ("02_PFDN", 16.0))]
    alike = renamed(timed("03_PFDNLite", 16.01, PSNRS["00_RLFN"], 0.3), id=3)
    same = alike.model_copy(update={"complexity": noisy[1].complexity})
    board = boards(*noisy, same, year=2024)
    assert {row.cell("rank").text for row in board.rows} == {"base", "1-2"}
    assert any(line.endswith("may be first as well.") for line in board.headline.details)
    # The table's first is the headline's.
    ranked = [row for row in board.rows if row.cell("rank").text != "base"]
    assert board.headline.claim.startswith(min(ranked, key=lambda row: row.cell("rank").value).label)


def test_the_headline_with_one_edition_is_that_with_all():
    """The newest edition whose baseline is there may rank nothing; then an older one does."""
    untimed = changed(timed("05_SPAN", 15.0, PSNRS["05_SPAN"]), complexity={"flops": None})
    records = [timed("00_RLFN", 20.0, PSNRS["00_RLFN"]), timed("02_PFDN", 16.0, PSNRS["02_PFDN"]), untimed]
    ((one,), (first,)) = (make_boards(current(records), with_others=its) for its in (False, True))
    assert (one.ranked.edition.year, one.headline) == (2024, first.headline)
    assert [its.ranked.edition.year for its in first.others] == [2026]


def rank_sum() -> Edition:
    """The rules of 2024 with a main track by the sum of two ranks, and by scores in the other one."""
    rules = find_edition(2024)
    by_ranks = Track(name="Rank sum", ranks=("runtime_ms", "flops"))
    return rules.model_copy(update={"tracks": (by_ranks, rules.main)})


def few(record: Record) -> Record:
    """The record with one undisturbed round an image, all else dropped."""
    rows = tuple((row[0], *[None] * (len(row) - 1)) for row in record.timing.samples_ms)
    return changed(record, timing=record.timing.model_copy(update={"samples_ms": rows}))


def test_who_shares_the_first_place_is_named():
    # The first in one figure is the last in the other one.
    quick, light = (timed("02_PFDN", 10.0, PSNRS["02_PFDN"]), timed("05_SPAN", 15.0, PSNRS["05_SPAN"]))
    counts = light.complexity.model_copy(update={"flops": light.complexity.flops / 2})
    records = [timed("00_RLFN", 20.0, PSNRS["00_RLFN"]), quick, changed(light, complexity=counts)]
    (board,) = make_boards(current(records), rank_sum())
    assert board.headline.claim == "02_PFDN and 05_SPAN share the first place of 2 by the rules of NTIRE 2024."


def test_why_ranks_may_be_open_is_told_as_in_the_ranking(three: list[Record]):
    first, *others = three
    apart = changed(first, timing=first.timing.model_copy(update={"group": "another"}))
    unknown = "Whether ranks are settled is unknown: "
    for records, rules, reason in (
        ([apart, *others], find_edition(2024), "models were timed in separate runs, so ranks have no intervals"),
        ([*map(few, three)], find_edition(2024), "only 6 undisturbed samples of a model and set, too few for"),
        (three, rank_sum(), "Rank sum ranks by sums of ranks, which have no intervals."),
    ):
        (board,) = make_boards(current(records), rules)
        assert board.headline.details[0].startswith(unknown + reason)


def test_an_edition_whose_baseline_has_no_time_does_not_come_before_one_that_ranks(three: list[Record]):
    accuracy = {"protocol": "accuracy"}
    untimed = [make_record(psnrs, label=label, settings=accuracy) for label, psnrs in PSNRS.items()]
    board = boards(*untimed, *three[:2])
    assert [row.label for row in board.rows] == ["00_RLFN", "02_PFDN", "05_SPAN"]
    assert "by the rules of NTIRE 2024" in board.headline.claim
    assert {"rank", "score"} <= {its.key for its in board.headings}


@pytest.mark.parametrize(
    ("low", "estimate", "high", "words"),
    [
        (0.9994, 0.9997, 0.99996, "takes 0.030% less time than 00_RLFN [0.004, 0.060]."),
        (0.69, 0.70, 0.72, "takes 30% less time than 00_RLFN [28, 31]."),
        (-math.inf, 3.5, math.inf, "00_RLFN do not differ significantly (ratio 3.50 of too few samples)."),
    ],
)
def test_a_ratio_in_words(monkeypatch: pytest.MonkeyPatch, low: float, estimate: float, high: float, words: str):
    found = SimpleNamespace(runtime=Interval(estimate, low, high))
    monkeypatch.setattr("eval.report.headline.compare_sides", lambda *_: found)
    assert words in _runtime_words(make_record(label="03_PFDNLite"), make_record(label="00_RLFN"))


def test_without_times_the_highest_psnr_is_first_and_ties_are_named():
    untimed = {"protocol": "accuracy"}
    found = boards(*(make_record(psnrs, label=label, settings=untimed) for label, psnrs in PSNRS.items())).headline
    assert found.claim == "00_RLFN has the highest PSNR of 3 networks on Set2 (6 images), 27.25 dB."
    assert found.details[0] == (
        "In PSNR, 00_RLFN does not differ significantly from 02_PFDN; it is above 05_SPAN (95%, 6 images)."
    )
    assert found.details[1] == "No scores: the protocol accuracy measures no runtime; use --protocol steady."
    twins = (make_record(PSNRS["00_RLFN"], label=label, settings=untimed) for label in ("00_RLFN", "01_Twin"))
    assert (
        boards(*twins).headline.claim
        == "00_RLFN and 01_Twin share the highest PSNR of 2 networks on Set2 (6 images), 27.25 dB."
    )


def test_psnr_has_the_paired_interval_of_the_comparison_and_a_mark_for_a_tie(three: list[Record]):
    board = boards(*three, year=2024)
    found = paired_difference(*(np.array(PSNRS[label])[:, None] for label in ("05_SPAN", "00_RLFN")))
    base, tie, below = (row.intervals["psnr_db"] for row in board.rows)
    assert base is None
    assert tie.tied
    assert not below.tied
    assert below.text == f"{found.estimate:+.3f} dB [{found.low:+.3f}, {found.high:+.3f}] to 00_RLFN"
    assert (below.low, below.high) == (pytest.approx(27.25 + found.low), pytest.approx(27.25 + found.high))
    assert [below.places[0], tie.places[2]] == [0, 100]


def test_each_edition_whose_baseline_is_there_has_its_own_ranks(three: list[Record]):
    board = boards(*three)
    assert [its.ranked.edition.year for its in (board, *board.others)] == years_of("SPAN", "RLFN")
    assert {its.ranked.edition.baseline.model: its.baseline for its in (board, *board.others)} == {"SPAN": 2, "RLFN": 0}
    assert boards(*three, year=2024).others == ()


def test_bicubic_is_not_the_best_of_a_column_about_networks(three: list[Record]):
    floor = {"id": -1, "name": "Bicubic", "label": "Bicubic"}
    floor = changed(timed("05_SPAN", 1.0, PSNRS["05_SPAN"]), model=floor, complexity=None, peak_memory_mib=0.1)
    memories = [record.model_copy(update={"peak_memory_mib": 1.0 + i}) for i, record in enumerate(three)]
    board = boards(floor, *memories, year=2024)
    marks = {
        key: [row.label for row in board.rows if row.cell(key).mark == "best"]
        for key in ("peak_memory_mib", "runtime_ms")
    }
    assert marks == {"peak_memory_mib": ["00_RLFN"], "runtime_ms": ["05_SPAN"]}


def test_weights_that_are_not_the_released_ones_are_told_in_rows_and_tables(tmp_path: Path):
    own, options = renamed(make_record(), checkpoint="selftrained"), PageOptions()
    assert ">selftrained weights</button>" in write_page(gather([own], options), tmp_path, options).read_text("utf-8")
    assert LABEL.of(own) == "03_PFDNLite (selftrained)"
    assert LABEL.of(renamed(own, label="03_PFDNLite (selftrained)")) == "03_PFDNLite (selftrained)"
    assert LABEL.of(renamed(make_record(), checkpoint="released")) == "03_PFDNLite"


def test_weights_that_the_manifest_does_not_know_are_called_by_their_file(tmp_path: Path, three: list[Record]):
    tuned = {"checkpoint": None, "weights_file": "finetuned.pth", "weights_sha256": "f" * 64}
    own = read_record(write_record(renamed(make_record(), **tuned), tmp_path))
    assert LABEL.of(own) == Side.of_record(own).label == "03_PFDNLite (finetuned)"
    assert r"03\_PFDNLite (finetuned)" in markdown_leaderboard(current([own]))
    for file in ("PFDNLite", "released"):
        assert LABEL.of(renamed(own, weights_file=f"{file}.pth")) == f"03_PFDNLite ({file})"
    for change in ({"weights_file": None, "weights_sha256": None}, {"origin": "net"}):
        assert LABEL.of(renamed(own, **change)) == "03_PFDNLite"
    board = boards(renamed(three[0], **tuned), *three[1:], year=2024)
    assert "the unranked baseline 00_RLFN (finetuned) with" in board.headline.claim
    assert "Baseline 00_RLFN (finetuned): " in board.ranked.notes[0]


def test_a_table_of_times_over_other_images_says_so_and_has_no_ranks(three: list[Record]):
    part = {"image_names": ("img0", "img5"), "samples_ms": three[1].timing.samples_ms[:2]}
    board = boards(three[0], changed(three[1], timing=part), three[2], year=2024)
    told = "Models were timed on different images of this set; mean times are not over the same images."
    assert told in board.warnings
    assert "02_PFDN was timed on 2 of its images, 00_RLFN on 6 that are not the same" in board.ranked.notes[0]
    assert not board.ranked.rows
    assert told not in boards(*three, year=2024).warnings


def test_a_state_is_a_column_only_where_a_row_did_not_run():
    keys = [its.key for its in boards(make_record()).headings]
    assert "state" not in keys
    failed = make_record((), label="09_Broken", status="failed", reason="a fault")
    assert "state" in [its.key for its in boards(make_record(), failed).headings]


def test_a_row_leads_to_the_models_paper_and_code():
    row = boards(make_record()).rows[0]
    assert row.links == (("paper", "https://arxiv.org/abs/2404.10343"), ("code", "https://github.com/icandle/BSR"))
    assert boards(renamed(make_record(), origin="NTIRE2024_ESR")).rows[0].links == ()


def test_report_writes_the_headline_above_the_table_of_its_markdown(tmp_path: Path, command: Command):
    records = [timed(label, ms, PSNRS[label]) for label, ms in (("00_RLFN", 20.0), ("02_PFDN", 16.0))]
    for record in records:
        write_record(record, tmp_path / "save" / "records")
    command("-m", "eval", "report", tmp_path / "save", "--edition", "2024", "--save_dir", tmp_path / "out")
    heading, line, table = (tmp_path / "out" / "leaderboard.md").read_text().split("\n\n")[1:4]
    headline = boards(*records, year=2024).headline
    assert heading.startswith("## Set2 (")
    assert line == " ".join((f"**{markdown_text(headline.claim)}**", *map(markdown_text, headline.details)))
    assert line.startswith(r"**02\_PFDN is the only model ranked by the rules of NTIRE 2024 with")
    assert table.startswith("| Model ")


def test_psnr_of_five_images_is_not_said_not_to_differ():
    """Of fewer than six images no difference is settled, be it 3 dB."""
    few = [make_record(psnrs[:5], label=label, settings={"protocol": "accuracy"}) for label, psnrs in PSNRS.items()]
    assert boards(*few).headline.details[0] == "No difference in PSNR can be settled on 5 images: it takes 6."
