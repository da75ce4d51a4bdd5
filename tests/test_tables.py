"""Tables by hand: the template's formats, CSV that pandas reads, Markdown that nothing breaks."""

import math
from pathlib import Path

import pandas as pd

from eval.record import Protocol, Settings, write_record
from eval.report.columns import COLUMNS, legend, newest
from eval.report.tables import csv_table, markdown_tables, template_table, write_tables
from tests.test_record import make_record


def test_the_template_table_character_by_character():
    table = template_table([make_record((26.894, 26.904))], "Set2", None)
    assert table == (
        "Model               \tVal PSNR  \tVal Time [ms] \tParams [M]\tFLOPs [G] \tActs [M]\tMem [M] \tConv    \n"
        "03_PFDNLite         \t26.90     \t75.00         \t0.218     \t11.95     \t36.10   \t105.46  \t  24    \n"
    )


def test_the_template_table_with_test_columns():
    records = [make_record((26.9,), dataset="valid"), make_record((27.0, 27.0), dataset="test")]
    records.append(make_record((25.0,), label="00_RLFN", dataset="valid"))
    lines = template_table(records, "valid", "test").splitlines()
    assert lines[0] == (
        "Model               \tVal PSNR  \tTest PSNR \tVal Time [ms] \tTest Time [ms]\tAve Time [ms] \t"
        "Params [M]\tFLOPs [G] \tActs [M]\tMem [M] \tConv    "
    )
    cells = [[cell.strip() for cell in line.split("\t")] for line in lines[1:]]
    assert cells[0] == [
        "03_PFDNLite", "26.90", "27.00", "100.00", "75.00", "87.50", "0.218", "11.95", "36.10", "105.46", "24"
    ]  # fmt: skip
    assert cells[1][:6] == ["00_RLFN", "25.00", "-", "100.00", "-", "-"]


def test_csv_is_unrounded_and_pandas_reads_numbers(tmp_path: Path):
    untimed = Settings(protocol=Protocol.ACCURACY, device="cpu", tile=64, tile_overlap=16)
    bare = make_record((21.0,), label="09_Bare", complexity=None, settings=untimed)
    (tmp_path / "results.csv").write_text(csv_table([make_record((math.pi, 20)), bare]))
    frame = pd.read_csv(tmp_path / "results.csv").set_index("model")
    assert frame.loc["03_PFDNLite", "psnr_db"] == (math.pi + 20) / 2
    assert frame.loc["03_PFDNLite", "flops"] == 11_952_734_208
    assert frame.loc["03_PFDNLite", "num_images"] == 2
    assert frame.loc["09_Bare", "tile"] == 64
    assert pd.isna(frame.loc["09_Bare", "flops"])


def test_hostile_set_names_stay_text():
    record = make_record((20.0,), dataset='=HYPERLINK("x")|<b>')
    assert csv_table([record]).splitlines()[1].split(",")[1] == '"\'=HYPERLINK(""x"")|<b>"'
    heading = next(line for line in markdown_tables([record]).splitlines() if line.startswith("## "))
    assert heading == r'## =HYPERLINK("x")\|\<b\> (1 images, official, cpu)'


def test_markdown_by_hand():
    lines = markdown_tables([make_record((26.894, 26.904)), make_record((20.0, 22.0), label="00_RLFN")]).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0][:4] == ["Model", "PSNR [dB]", "SSIM", "Time [ms]"]
    assert {tuple(row[:4]) for row in rows[2:]} == {
        ("03_PFDNLite", "26.90", "0.5000", "75.00"),
        ("00_RLFN", "21.00", "0.5000", "75.00"),
    }


def test_figures_that_were_not_taken_are_dashes_and_infinity_is_said():
    record = make_record((math.inf, 20.0), complexity=None, peak_memory_mib=None)
    assert [column.text(record) for column in COLUMNS] == ["inf", "0.5000", "75.00", "-", "-", "-", "-", "-"]


def test_newest_takes_the_last_complete_record_of_each_kind():
    old, new = make_record((20.0,)), make_record((21.0,), second=1)
    broken = make_record((), second=2, status="failed", reason="a fault")
    other_device = make_record(
        (22.0,), settings=Settings(protocol="official", device="cuda", tile=None, tile_overlap=None)
    )
    assert newest([new, broken, old, other_device]) == [new, other_device]


def test_the_legend_says_what_the_times_hold():
    assert any("cold first image included" in line for line in legend([make_record()]))
    untimed = Settings(protocol=Protocol.ACCURACY, device="cpu", tile=None, tile_overlap=None)
    assert not any(line.startswith("Time") for line in legend([make_record(settings=untimed)]))


def test_tables_are_made_from_the_records_alone(tmp_path: Path):
    write_record(make_record((26.9,)), tmp_path / "records")
    paths = write_tables(tmp_path, "Set2", None)
    assert [path.name for path in paths] == ["results.txt", "results.csv", "leaderboard.md"]
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_tables(tmp_path, "Set2", None)] == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "leaderboard.md",
        "records",
        "results.csv",
        "results.txt",
    ]
