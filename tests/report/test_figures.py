"""Figures and tables for papers: what is drawn, how wide, and that LaTeX reads them."""

import shutil
import subprocess
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib import get_data_path
from matplotlib.figure import Figure

from eval.data.images import write_png
from eval.ranking.editions import find_edition
from eval.records.current import current
from eval.records.record import Mean
from eval.report.board import Board, make_board
from eval.report.page.island import board_data
from eval.report.page.writing import PageOptions, gather
from eval.report.papers import fonts
from eval.report.papers.challenge_table import challenge_tables
from eval.report.papers.crops import COLUMN_INCHES, comparison, strip
from eval.report.papers.figures import scale_by_logarithm, tradeoff, write_figures
from eval.report.papers.former import former_files
from eval.report.papers.names import place_names
from eval.report.papers.profile_figure import write_profile_figure
from eval.report.table import Cell
from eval.report.tables import leaderboard
from eval.timing.samples import Ratio
from tests.records.test_record import changed, make_record
from tests.report.test_page import HOSTILE, STEADY, many, renamed
from tests.report.test_page_pictures import measured
from tests.report.test_tables import steady


def needs_pdflatex(test):
    """Mark a test as slow: what it needs takes hundreds of MB, which `make test-all` alone installs."""
    return pytest.mark.slow(pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")(test))


def board_of(records: list) -> Board:
    ((conditions, rows),) = current(records)
    return make_board(conditions, rows)


def compile_latex(text: str, folder: Path) -> str:
    """Run plain pdflatex and return its log."""
    (folder / "a.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "a.tex"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=600)
    assert result.returncode == 0, result.stdout[-2000:]
    return result.stdout


def test_both_figures_as_pdf_and_png_a_column_wide(tmp_path: Path, hr_folder: Path):
    records = [measured(tmp_path / "r", hr_folder, *its) for its in (("00_RLFN", 9), ("03_PFDNLite", 20))]
    content = gather(records, PageOptions(roots=(tmp_path / "r",)))
    paths = write_figures(content.boards, content.comparisons, tmp_path, print)
    # No machine is named that is the only one.
    stems = ("0-tradeoff-photos", "1-comparison-photos", "2-strip-photos")
    assert [path.name for path in paths] == [f"{its}{suffix}" for its in stems for suffix in (".pdf", ".png")]
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths[::2])
    assert tradeoff(content.boards[0]).get_size_inches()[0] == COLUMN_INCHES
    again = write_figures(content.boards, content.comparisons, tmp_path / "again", print)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_a_strip_shows_input_bicubic_networks_and_ground_truth_where_networks_gain_most(tmp_path: Path):
    hr = np.full((160, 320, 3), 128, np.uint8)
    hr[:, 200::8] = 255
    write_png(tmp_path / "photos" / "half.png", hr)
    record = measured(tmp_path / "r", tmp_path / "photos", "03_PFDNLite", 2, ("half",))
    (its,) = gather([record], PageOptions(roots=(tmp_path / "r",))).comparisons
    axes = strip(its).axes
    first, *captions = [its.get_xlabel() for its in axes]
    assert first == "LR of\nhalf"
    assert [its.partition("\n")[0] for its in captions] == ["bicubic", "PFDNLite", "HR"]
    lr, *pictures = [its.get_images()[0].get_array() for its in axes]
    assert lr.shape == (32, 32, 3)
    assert {its.shape for its in pictures} == {(128, 128, 3)}
    # Of the left half bicubic and network differ by noise; of the stripes bicubic keeps nothing.
    assert (pictures[-1] == 255).any(axis=(0, 2)).sum() == 15


def test_captions_of_crops_stand_beside_each_other_and_inside(tmp_path: Path, hr_folder: Path):
    long = hr_folder / "a_long_name_of_a_photograph.png"
    (hr_folder / "image0.png").rename(long)
    labels = ("00_RLFN", "03_PFDNLite", "09_TheLongNameOfANetwork", f"11_{'N' * 200}")
    records = [measured(tmp_path / "r", hr_folder, label, 9, (long.stem,)) for label in labels]
    (its,) = gather(records, PageOptions(roots=(tmp_path / "r",))).comparisons
    for figure in (strip(its), comparison(its)):
        figure.draw_without_rendering()
        boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes if axes.get_xlabel()]
        assert all(len(axes.get_xlabel()) < 120 for axes in figure.axes)
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))


def texts_of(board: Board) -> list[str]:
    return [text.get_text() for text in tradeoff(board).axes[0].texts]


def test_a_model_without_a_cost_is_in_no_tradeoff():
    """Where no times are on record, FLOPs are the cost; some networks have only operations that are not counted."""
    psnr = {"psnr_db": make_record((27.0,)).means["psnr_db"]}
    free, own = (make_record((27.0,), label=label, means=psnr) for label in ("00_RLFN", "03_PFDNLite"))
    assert texts_of(board_of([changed(free, complexity={"flops": 0}), own])) == ["PFDNLite"]


def test_names_stand_in_the_figure_unless_there_are_too_many():
    assert sorted(texts_of(board_of(STEADY))) == ["PFDNLite", "RLFN"]
    # All have one cost, so only the best is on the front.
    assert texts_of(board_of(many(20))) == ["Net19"]


def test_time_is_the_cost_where_it_was_taken_with_its_interval():
    axes = tradeoff(board_of(STEADY)).axes[0]
    assert axes.get_xlabel() == "Time [ms]"
    # The baseline's own ratio is 1, and has none.
    (segment,) = (container.lines[2][0].get_segments()[0].tolist() for container in axes.containers)
    assert segment == [[pytest.approx(9.0), 27.0], [pytest.approx(12.0), 27.0]]


def test_costs_close_together_have_more_than_one_tick():
    axes = Figure().subplots()
    axes.plot([0.54, 1.7], [1, 2])
    scale_by_logarithm(axes, [0.54, 1.7])
    low, high = axes.get_xlim()
    ticks = [(at, axes.xaxis.get_major_formatter()(at, 0)) for at in axes.get_xticks() if low <= at <= high]
    assert [text for _, text in ticks] == ["0.7", "1", "1.5"]


def test_costs_far_apart_stand_at_plain_ticks():
    fast = steady("05_SPAN", 1.2, Ratio(baseline="00_RLFN", estimate=0.06, low=0.05, high=0.07))
    figure = tradeoff(board_of([*STEADY, fast]))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    at = [(tick.get_loc(), tick.label1.get_text()) for tick in axes.xaxis.get_major_ticks()]
    assert [text for place, text in at if low <= place <= high] == ["1", "2", "5", "10", "20"]
    assert not any(tick.label1.get_text() for tick in axes.xaxis.get_minor_ticks())


def test_without_figures_there_is_no_plot():
    assert tradeoff(board_of([make_record((), status="failed", reason="a fault")])) is None


def test_a_gate_of_three_decimals_is_drawn_as_it_is():
    gate = find_edition(2024).gates[0].model_copy(update={"psnr_db": 26.775, "decimals": 3})
    board = board_of(STEADY)
    board = replace(board, ranked=replace(board.ranked, gates=(gate,)))
    assert "gate 26.775 dB" in texts_of(board)
    assert board_data(board)["editions"][0]["gates"] == [[26.775, "26.775"]]


def test_two_machines_figures_have_names_of_their_own(tmp_path: Path):
    boards = [board_of([changed(make_record(), environment={"threads": threads})]) for threads in (1, 2)]
    names = [path.stem for path in write_figures(boards, [], tmp_path, print)[::2]]
    assert names == ["0-tradeoff-Set2-A-processor-1-thread", "1-tradeoff-Set2-A-processor-2-threads"]


def test_figures_of_a_former_report_go_and_foreign_files_stay(tmp_path: Path):
    former = write_figures([board_of([make_record(dataset=name)]) for name in ("Set5", "Set14")], [], tmp_path, print)
    mine = [tmp_path / "figures" / name for name in ("1-tradeoff.pdf", "network.pdf", "1-tradeoff-Set14.svg")]
    table = tmp_path / "challenge.tex"
    for path in (*mine, table):
        path.write_text("mine", encoding="utf-8")
    assert former_files(tmp_path, former) == [table]
    now = write_figures([board_of([make_record(dataset="Set5")])], [], tmp_path, print)
    assert sorted((tmp_path / "figures").iterdir()) == sorted([*now, *mine])
    assert former_files(tmp_path, [table]) == now


def test_a_model_far_below_does_not_flatten_the_others():
    records = [*many(20), renamed(make_record((12.0, 12.0)), id=99, name="Low", label="99_Low")]
    axes = tradeoff(board_of(records)).axes[0]
    assert axes.get_ylim()[0] > 20
    assert "1 below" in [text.get_text() for text in axes.texts]
    assert tradeoff(board_of(records[-3:])).axes[0].get_ylim()[0] < 12


def test_the_model_that_is_ranked_first_is_shown_however_far_below_it_lies():
    lower = [renamed(make_record((psnr, psnr)), id=98, name="Low", label=f"9{psnr}_Low") for psnr in (12.0, 9.0)]
    board = board_of([*many(20), *lower])
    rows = [
        replace(its, cells={**its.cells, "rank": Cell("1", 1)}) if "912" in its.label else its for its in board.rows
    ]
    axes = tradeoff(replace(board, rows=tuple(rows))).axes[0]
    assert 9 < axes.get_ylim()[0] < 12
    assert "1 below" in [text.get_text() for text in axes.texts]


def test_a_name_is_nearest_to_its_own_marker_or_at_the_end_of_a_line():
    middles, reaches, half = np.array([[0.0, 0.0], [6.0, 0.0]]), np.array([4.0, 4.0]), np.array([10.0, 3.0])
    room, nothing = np.array([0.0, 0.0, 60.0, 60.0]), np.empty((0, 4))
    places = place_names(middles, reaches, {0: half, 1: half}, room, nothing)
    # Above and below each other's markers are nearly as near as the own.
    assert places[1][0].tolist() == [6 + 4 + 2.5 + 10, 0]
    assert places[0][0].tolist() == [-(4 + 2.5 + 10), 0]
    assert [len(line) for _, line in places.values()] == [0, 0]
    # In a narrow room, on a line from the middle of the marker.
    middle, line = place_names(middles, reaches, {0: half}, np.array([0.0, 0.0, 14.0, 60.0]), nothing)[0]
    assert middle.tolist() == [0, 4 + 8 + 3]
    assert line[[0, -1]].tolist() == [[0, 0], [0, 4 + 8]]
    # What is there already is not covered, and where there is no room, there is no name.
    narrow, there = np.array([0.0, 0.0, 14.0, 60.0]), np.array([[0, 15, 9, 9]])
    assert place_names(middles, reaches, {0: half}, narrow, there)[0][0][1] < 0
    assert place_names(middles, reaches, {0: half}, np.array([0.0, 0.0, 9.0, 60.0]), nothing) == {}


def test_every_name_of_fifteen_models_stands_in_the_figure_by_itself():
    rng, crowd = np.random.default_rng(3), []
    for number, (psnr, ms) in enumerate(rng.normal((27, 10), (0.06, 2), (15, 2))):
        its = renamed(make_record((psnr,)), id=number, name=f"Network{number}", label=f"{number:02}_Network{number}")
        crowd.append(changed(its, means=its.means | {"runtime_ms": Mean(mean=ms, count=1)}))
    figure = tradeoff(board_of(crowd))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 15
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_dollars_are_no_formula(tmp_path: Path):
    board = board_of([renamed(make_record(), label="03_$\\frac$"), make_record(label="00_RLFN")])
    assert "$\\\\frac$" in texts_of(board)
    assert len(write_figures([board], [], tmp_path, print)) == 2


def test_letters_that_matplotlibs_font_lacks_are_of_another_font(tmp_path: Path, monkeypatch, recwarn):
    """Its mathematical font, here for one of the system, has the letter that stands for a Chinese one."""
    stix = Path(get_data_path(), "fonts", "ttf", "STIXGeneral.ttf")
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [str(tmp_path / "damaged.ttf"), str(stix)])
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    said: list[str] = []
    pdf, _ = write_figures([board_of([make_record(dataset="ᶊ")])], [], tmp_path, said.append)
    assert (b"STIXGeneral" in pdf.read_bytes(), said, list(recwarn)) == (True, [], [])


def test_letters_that_no_font_has_are_named_once(tmp_path: Path, monkeypatch, recwarn):
    monkeypatch.setattr(fonts, "findSystemFonts", list)
    said: list[str] = []
    board = board_of([renamed(make_record(), label="03_超分"), make_record(label="00_RLFN")])
    assert len(write_figures([board], [], tmp_path, said.append)) == 2
    assert [its.partition(";")[0] for its in said] == ["figures: no font of this machine has all letters of 超分"]
    assert list(recwarn) == []
    write_profile_figure([("层", 2.0, 1.0)], tmp_path / "profile.png", said.append)
    assert " of 层; boxes stand for them. Install a font that has them" in said[1]
    assert list(recwarn) == []


def test_the_challenge_table_ranks_each_figure():
    table = challenge_tables(
        [board_of([*STEADY, make_record((), label="09_x", status="failed", reason="y", settings=STEADY[0].settings)])]
    )
    lines = [line.strip() for line in table.splitlines()]
    assert r"\label{tab:results1}" in lines
    rules = [line for line in lines if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    (ranked,) = (line for line in lines if "PFDNLite" in line)
    cells = [cell.strip(" \\") for cell in ranked.split("&")]
    assert cells[:2] == ["BSR", "PFDNLite"]
    assert r"textbf{10.00}$_{(1)}$" in cells
    assert lines[lines.index(r"\bottomrule") - 1].split("&")[1].strip() == "RLFN"
    assert "Not measured: 09\\_x." in table


def test_a_caption_speaks_of_no_rule_and_no_ranks_that_its_table_has_not():
    (alone,) = (line for line in challenge_tables([board_of(STEADY[:1])]).splitlines() if "caption" in line)
    assert "rule" not in alone
    assert "rank" not in alone.lower()
    (both,) = (line for line in challenge_tables([board_of(STEADY)]).splitlines() if "caption" in line)
    assert "below the rule: the baseline" in both
    assert "In brackets: rank" in both


def test_the_challenge_table_gives_bicubic_no_rank_and_takes_none_from_others():
    floor = {"id": -1, "name": "Bicubic", "label": "Bicubic"}
    bicubic = changed(steady("03_PFDNLite", 1.0, None), model=floor, complexity=None)
    table = challenge_tables([board_of([bicubic, *STEADY[1:]])])
    (line,) = (line for line in table.splitlines() if "Bicubic" in line)
    assert "$_{" not in line
    (line,) = (line for line in table.splitlines() if "PFDNLite" in line)
    assert r"\textbf{0.218}$_{(1)}$" in line


def test_versions_of_a_network_have_names_of_their_own(tmp_path: Path, hr_folder: Path):
    tuned = {"checkpoint": None, "weights_file": "tuned.pth", "weights_sha256": "f" * 64}
    other = measured(tmp_path / "r", hr_folder, "03_Other", 9)
    own = renamed(other, name="PFDNLite", label="03_PFDNLite", **tuned).model_copy(
        update={"images_folder": "03_Other/photos"}
    )
    versions = [measured(tmp_path / "r", hr_folder, "03_PFDNLite", 20), own]
    content = gather(versions, PageOptions(roots=(tmp_path / "r",)))
    expected = ["PFDNLite", "PFDNLite (tuned)"]
    assert sorted(texts_of(content.boards[0])) == expected
    captions = [its.get_xlabel().rpartition("\n")[0] for its in strip(content.comparisons[0]).axes[2:-1]]
    assert [its.replace("\n", " ") for its in captions] == expected
    table = challenge_tables(content.boards).splitlines()
    assert [line.split("&")[1].strip() for line in table if "PFDNLite" in line] == expected
    # Elsewhere numbers and origins tell models apart.
    assert renamed(own, label="2025-41_EFDN", id=41, origin="NTIRE2025").model.short_name == "2025-41_EFDN"


def test_the_challenge_table_names_models_without_any_figure():
    bare = make_record().model_copy(update={"means": {}, "complexity": None, "peak_memory_mib": None})
    (line,) = (line for line in challenge_tables([board_of([bare])]).splitlines() if "PFDNLite" in line)
    assert [cell.strip(" \\") for cell in line.split("&")] == ["BSR", "PFDNLite"]


@needs_pdflatex
def test_latex_reads_hostile_tables(tmp_path: Path):
    record = renamed(make_record(), name=HOSTILE, team=r"\input{/etc/passwd}$x_y^%#&~{}", label=f"03_{HOSTILE}")
    records = [record, make_record(label="00_中_é")]
    table = challenge_tables([board_of(records)]) + leaderboard(records)
    head = "\\documentclass[twocolumn]{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{booktabs}\n\\begin{document}\n"
    log = compile_latex(f"{head}{table}\\end{{document}}\n", tmp_path)
    assert "passwd" not in log
