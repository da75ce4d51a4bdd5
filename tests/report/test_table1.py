"""The factsheet's table: formats by hand, and cells that could not be measured."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from eval.report.papers.table1 import Cell, csv_table, latex_table, markdown_table, notes, read_table1

CELLS = [
    Cell("Urban_100", "RLFN", 24.5937, 24.59),
    Cell("Urban_100", "DIPNet", 24.2449, 24.25),
    Cell("LD-valid", "RLFN", None, 26.96, "images not found"),
    Cell("LD-valid", "DIPNet", None, 27.0, "images not found"),
]


def test_the_published_figures_are_the_factsheets():
    models, sets = read_table1()
    assert models == ("RLFN", "DIPNet", "PFDNLite")
    published = {row.name: tuple(row.published.get(model) for model in models) for row in sets}
    assert published == {
        "LD-valid": (26.96, 27.00, 26.90),
        "LD-test": (27.06, 26.95, 27.00),
        "Test2K": (26.20, 26.11, 26.18),
        "Urban100": (24.59, 24.25, 24.48),
        "Set5": (None, None, None),
        "Set14": (None, None, None),
    }
    counts = {"LD-valid": 200, "LD-test": 200, "Test2K": 100, "Urban100": 100, "Set5": 5, "Set14": 14}
    assert {row.name: row.images for row in sets} == counts


def test_differences_are_between_printed_figures():
    assert [cell.texts for cell in CELLS[:3]] == [
        ("24.59", "24.59", "+0.00"),
        ("24.24", "24.25", "-0.01"),
        ("-", "26.96", "-"),
    ]


def test_markdown_and_notes():
    lines = markdown_table(CELLS).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["PSNR [dB]", "RLFN", "DIPNet"]
    assert rows[2] == [r"Urban\_100", "24.59 (24.59, +0.00)", "24.24 (24.25, -0.01)"]
    assert rows[3] == ["LD-valid", "- (26.96, -)", "- (27.00, -)"]
    assert notes(CELLS) == ["LD-valid, RLFN, DIPNet: not measured: images not found"]
    assert lines[-1] == "- LD-valid, RLFN, DIPNet: not measured: images not found"
    # What sets a measured figure apart is said once, and of none that was not measured.
    own = [replace(cell, unlike=("RLFN (mine): other weights",)) for cell in CELLS]
    assert notes(own) == [*notes(CELLS), "RLFN (mine): other weights"]
    assert notes(own[2:]) == notes(CELLS)


def test_csv_is_unrounded(tmp_path: Path):
    (tmp_path / "table1.csv").write_text(csv_table(CELLS))
    frame = pd.read_csv(tmp_path / "table1.csv")
    assert frame["measured_psnr_db"].tolist()[:2] == [24.5937, 24.2449]
    assert frame["published_psnr_db"].tolist() == [24.59, 24.25, 26.96, 27.0]


def test_latex_is_booktabs_and_escaped():
    text = latex_table(CELLS)
    assert text.startswith("\\begin{tabular}{lrrrr}\n\\toprule")
    assert "Urban\\_100" in text
    row = next(line for line in text.splitlines() if "LD-valid" in line)
    assert [cell.strip(" \\") for cell in row.split("&")] == ["LD-valid", "-", "26.96", "-", "27.00"]
