"""The table of all years that is published says what the records beside it say."""

import csv
import tarfile
from pathlib import Path

import pytest

from bench.all_years import EDITIONS
from bench.all_years_rows import gather, ratio_of, read_all
from eval.records.store import read_records
from tests.conftest import PROJECT

RESULTS = PROJECT / "docs" / "results"


def test_published_figures_are_those_of_the_records(tmp_path: Path):
    with tarfile.open(RESULTS / "all-years-records.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    records = read_records(tmp_path / "records")
    years = [gather(edition, tmp_path / "no checkout", records) for edition in read_all(EDITIONS)]
    rows = {(row.year, row.id): row for year in years for row in year.rows if row.ran}
    with (RESULTS / "all-years.csv").open(encoding="utf-8") as file:
        published = {(int(its["year"]), int(its["id"])): its for its in csv.DictReader(file) if its["state"] == "ran"}
    assert rows.keys() == published.keys()
    for key, row in rows.items():
        told = published[key]
        urban100_db = row.urban100.mean("psnr_db") if row.urban100 and row.urban100.complete else None
        for name, value in (
            ("psnr_set14_db", row.psnr_db),
            ("psnr_urban100_db", urban100_db),
            ("ratio", ratio_of(row)),
            ("flops", row.flops),
        ):
            assert value == (pytest.approx(float(told[name]), abs=1e-12) if told[name] else None), (key, name)
