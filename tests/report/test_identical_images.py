"""PSNR of identical images is infinite: it goes through every table, file, page and plot, above every number."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from eval.data.images import write_png
from eval.intervals import Interval
from eval.ranking.audit import audit
from eval.ranking.editions import find_edition
from eval.ranking.entries import published_baseline
from eval.ranking.from_records import entries_from
from eval.ranking.from_results_json import read_results
from eval.ranking.scoring import rank
from eval.records.current import current
from eval.records.record import Record
from eval.records.store import read_record, write_record
from eval.report import score as score_report
from eval.report.audits import tables as audit_report
from eval.report.page.gallery import ModelImages, rank_images
from eval.report.page.writing import PageOptions, gather, write_page
from eval.report.papers.challenge_table import challenge_tables
from eval.report.papers.factsheet import factsheet
from eval.report.papers.factsheet_facts import read_steps, read_team
from eval.report.papers.figures import tradeoff, write_figures
from eval.report.papers.table1 import Cell, latex_table, markdown_table
from eval.report.score_notes import notes
from eval.report.tables import csv_table, leaderboard, markdown_leaderboard
from eval.report.template import TemplateRow, template_table
from eval.run.processes import carry_out
from eval.zoo.manifest import find_model
from tests.conftest import PROJECT
from tests.ranking.test_audit import result
from tests.records.test_record import changed, make_record
from tests.report.test_page import Reader
from tests.report.test_page_pictures import measured
from tests.tasks import task_of

INF = math.inf


@pytest.fixture
def flat(tmp_path: Path, random_image) -> Path:
    """A folder of noise and of a picture of one colour, which bicubic reproduces exactly."""
    write_png(tmp_path / "photos" / "image0.png", random_image(48, 64))
    write_png(tmp_path / "photos" / "flat.png", np.full((48, 64, 3), 90, np.uint8))
    return tmp_path / "photos"


@pytest.fixture
def records(tmp_path: Path, flat: Path) -> list[Record]:
    """Bicubic, whose mean is infinite, and two networks with noise, whose means are not; all with pictures."""
    spec = find_model("Bicubic")
    task = task_of(flat, metrics=("psnr", "ssim"), images_dir=tmp_path / "r" / spec.label / "photos")
    names = ("flat", "image0")
    networks = [measured(tmp_path / "r", flat, *its, names) for its in (("00_RLFN", 9), ("03_PFDNLite", 20))]
    floor = carry_out(task, lambda _image: None)
    alike = {"environment": floor.environment, "settings": {"protocol": "accuracy"}}
    return [floor, *(changed(record, **alike) for record in networks)]


def test_a_run_and_its_record_on_disk(records: list[Record], tmp_path: Path):
    images = {image.name: image for image in records[0].images}
    assert (images["flat"].psnr_db, images["flat"].ssim, records[0].mean("psnr_db")) == (INF, 1.0, INF)
    assert images["image0"].psnr_db < 40
    assert read_record(write_record(records[0], tmp_path)) == records[0]


def test_tables(records: list[Record]):
    assert "inf" in template_table([TemplateRow.of_record(its) for its in records]).splitlines()[1].split("\t")[1]
    rows = list(csv.DictReader(io.StringIO(csv_table(records))))
    assert [float(row["psnr_db"]) for row in rows] == [record.mean("psnr_db") for record in records]
    assert float(rows[0]["psnr_db"]) == INF
    assert "| inf |" in " ".join(markdown_leaderboard(current(records)).split())
    first, second, third = leaderboard(records).splitlines()[4:7]
    # Bicubic, which is no network, has the highest figure and no mark; RLFN with less noise is the best network.
    assert r"$\infty$" in first
    assert r"\textbf" not in first
    assert (r"\textbf{" in second, r"\underline{" in third) == (True, True)


def test_the_page_sorts_it_above_all_and_plots_without_it(records: list[Record], tmp_path: Path):
    page = write_page(gather(records, PageOptions(roots=(tmp_path / "r",))), tmp_path / "out", PageOptions())
    reader = Reader(page)
    cells = [attrs for tag, attrs in reader.tags if tag == "td" and attrs.get("data-key") == "psnr_db"]
    assert (cells[0]["data-text"], cells[0]["data-value"]) == ("inf", "Infinity")
    assert all(float(cell["data-value"]) < INF for cell in cells[1:])
    rows = reader.data["boards"][0]["rows"]
    assert [row["psnr_db"] is None for row in rows] == [True, False, False]
    names = reader.data["boards"][0]["images"]
    assert rows[0]["psnrs_db"][names.index("flat")] is None
    shown = {image["name"]: image for image in reader.data["comparisons"]["photos"]["images"]}
    # The picture of bicubic is proven to be that of the record, although inf - inf is no number.
    assert shown["flat"]["psnrs_db"]["0"] == "Infinity"
    assert "0" in shown["flat"]["sources"]
    assert shown["flat"]["psnrs_db"]["1"] == round(records[1].images[0].psnr_db, 4)
    model = next((tmp_path / "out" / "models").glob("000*")).read_text()
    assert "inf" in model


def test_an_image_without_a_figure_is_no_identical_one(records: list[Record], tmp_path: Path):
    images = (records[0].images[0].model_copy(update={"psnr_db": None}), *records[0].images[1:])
    others = [changed(records[0], images=images), *records[1:]]
    page = write_page(gather(others, PageOptions(roots=(tmp_path / "r",))), tmp_path / "out", PageOptions())
    shown = {image["name"]: image for image in Reader(page).data["comparisons"]["photos"]["images"]}
    assert shown["flat"]["psnrs_db"]["0"] is None


def test_sets_of_which_every_image_is_identical(tmp_path: Path):
    records = [make_record((INF, INF), label=label) for label in ("00_RLFN", "03_PFDNLite")]
    content = gather(records, PageOptions())
    rows = Reader(write_page(content, tmp_path / "out", PageOptions())).data["boards"][0]["rows"]
    assert [row["psnrs_db"] for row in rows] == [[None, None]] * 2
    assert tradeoff(content.boards[0]) is None
    assert write_figures(content.boards, content.comparisons, tmp_path, print) == []
    assert rank_images([ModelImages(its.model.label, its, ()) for its in records]) == []
    # With three rows best figures are marked; equal ones share the mark.
    three = [*records, make_record((30.0, INF), label="05_SPAN")]
    assert challenge_tables(gather(three, PageOptions()).boards).count(r"\textbf{$\infty$}$_{(1)}$") == 2
    assert leaderboard(three).count(r"$\infty$") == 3


def test_plots_leave_the_point_out():
    records = [make_record(psnrs, label=label) for psnrs, label in (((INF,), "00_RLFN"), ((30.0,), "03_PFDNLite"))]
    (axes,) = tradeoff(gather(records, PageOptions()).boards[0]).axes
    assert axes.collections[0].get_offsets().tolist() == [[100.0, 30.0]]


def test_gates_scores_and_their_tables():
    rules = find_edition(2024)
    whole = {"name": "DIV2K_LSDIR_valid", "layout": "challenge", "folder": "/d", "num_images": 200}
    records = [changed(make_record((INF,), label="03_PFDNLite"), dataset=whole)]
    measured_alike = entries_from(records, rules)
    assert measured_alike.entries[0].psnr_db == {"valid": INF}
    for gate in ("rounded", "strict"):
        scored = score_report.Scored(
            rank(measured_alike.entries, rules, published_baseline(rules), gate), measured_alike
        )
        (row,) = scored.ranking.rows
        assert (row.verdicts[0].rounded, row.verdicts[0].strict, row.failed) == (True, True, ())
        assert float(next(csv.DictReader(io.StringIO(score_report.csv_table(scored))))["psnr_valid_db"]) == INF
        assert r"$\infty$" in score_report.latex_table(scored)
        assert "| inf |" in " ".join(score_report.markdown(scored).split())
        assert notes(scored)
        console = Console(record=True, file=io.StringIO())
        for table in score_report.terminal_tables(scored):
            console.print(table)
        assert " inf " in console.export_text()


def test_the_factsheet_and_table_1():
    team = read_team(PROJECT / "team_bsr" / "team.toml")
    steps = read_steps(PROJECT / "team_bsr" / team.training.recipe)
    text = factsheet(team, steps, [changed(make_record((INF,), dataset="Urban100"), dataset={"num_images": 100})])
    assert r"$\infty$ (24.48)" in text
    cells = [Cell("Urban100", "RLFN", INF, 24.59)]
    assert cells[0].texts == ("inf", "24.59", "+inf")
    assert r"$\infty$" in latex_table(cells)
    assert "inf (24.59, +inf)" in markdown_table(cells)


@pytest.fixture
def audited(tmp_path: Path):
    def run(content: dict):
        path = tmp_path / "results.json"
        # As Python writes it, and the challenge's test_demo.py with it.
        path.write_text(json.dumps(content))
        assert "Infinity" in path.read_text()
        return audit(path.name, read_results(path), find_edition(2024))

    return run


def test_an_audit_by_hand(audited):
    found = audited(
        {
            "00_RLFN": result([5.0, 5.0, 5.0], [27.0, 27.0, 26.0]),
            "01_Exact": result([6.0, 6.0, 6.0], [INF, 29.0, 29.0]),
            "02_Both": result([7.0, 7.0, 7.0], [INF, 28.0, 28.0]),
            "03_Whole": result([8.0, 8.0, 8.0], [INF] * 3),
        }
    )
    assert not found.misstated
    assert all(verdict.rounded and verdict.strict for verdict in found.verdicts["03_Whole"])
    pairs = {(its.first, its.second): its for its in found.neighbours if its.figure == "psnr_db"}
    # Infinite means are equal, and stand above the finite one.
    assert list(pairs) == [("01_Exact", "02_Both"), ("02_Both", "03_Whole"), ("03_Whole", "00_RLFN")]
    assert (pairs["01_Exact", "02_Both"].gap, pairs["01_Exact", "02_Both"].difference.estimate) == (0.0, -1.0)
    assert pairs["02_Both", "03_Whole"].verdict == "not separable"
    last = pairs["03_Whole", "00_RLFN"]
    assert (last.gap, last.verdict) == (-INF, "not separable")
    assert last.difference == Interval(0.0, -INF, INF)
    finding = next(text for text in audit_report.findings(found) if "equal HR" in text)
    assert "01_Exact on 1 of valid; 02_Both on 1 of valid; 03_Whole on 3 of valid" in finding
    content = json.loads(audit_report.as_json(found))
    assert content["models"][1]["sets"]["valid"]["psnr_db"] == "Infinity"
    assert content["neighbours"][-1]["gap"] == "-Infinity"
    assert audit_report.recomputed_table(found).splitlines()[2].split("\t")[1].strip() == "inf"
    assert "inf" in audit_report.markdown(found)
