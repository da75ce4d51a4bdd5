"""Tables by hand: the template's formats, CSV that pandas reads, Markdown that nothing breaks."""

import csv
import math
from pathlib import Path

import pandas as pd
import pytest

from eval.cli.judging import report
from eval.cli.session import Session
from eval.config import Protocol, RunConfig
from eval.metrics.figures import Flag
from eval.ranking.comparison import Side, compare_sides
from eval.records.current import current
from eval.records.record import Mean, Record
from eval.records.store import read_record, write_record
from eval.report.columns import STEADY_COLUMNS, columns_of, legend
from eval.report.comparison import comparison_table
from eval.report.escapes import latex
from eval.report.page.models import _complexity_facts
from eval.report.selection import baseline_of
from eval.report.tables import csv_table, leaderboard, markdown_leaderboard, write_report, write_tables
from eval.report.template import TemplateRow, template_table, template_tables
from eval.run.launch import Launch
from eval.timing.samples import Ratio
from tests.records.test_record import changed, make_record
from tests.run.test_runner import timing_of


def test_the_template_table_character_by_character():
    table = template_table([TemplateRow.of_record(make_record((26.894, 26.904)))])
    assert table == (
        "Model               \tVal PSNR  \tVal Time [ms] \tParams [M]\tFLOPs [G] \tActs [M]\tMem [M] \tConv    \n"
        "03_PFDNLite         \t26.90     \t75.00         \t0.218     \t11.95     \t36.10   \t105.46  \t  24    \n"
    )


def test_the_template_table_with_test_columns():
    records = [make_record((26.9,), dataset="valid"), make_record((27.0, 27.0), dataset="test")]
    records.append(make_record((25.0,), label="00_RLFN", dataset="valid"))
    title, *lines = template_tables(current(records), "valid", "test").splitlines()
    assert title == "# valid, 1 image and test, 2 images; protocol official, on A processor, 2 threads"
    assert lines[0] == (
        "Model               \tVal PSNR  \tTest PSNR \tVal Time [ms] \tTest Time [ms]\tAve Time [ms] \t"
        "Params [M]\tFLOPs [G] \tActs [M]\tMem [M] \tConv    "
    )
    cells = [[cell.strip() for cell in line.split("\t")] for line in lines[1:]]
    assert cells[1] == [
        "03_PFDNLite", "26.90", "27.00", "100.00", "75.00", "87.50", "0.218", "11.95", "36.10", "105.46", "24"
    ]  # fmt: skip
    assert cells[0][:6] == ["00_RLFN", "25.00", "-", "100.00", "-", "-"]


def test_the_line_above_a_template_table_names_weights_that_its_rows_do_not():
    both = [make_record(dataset="valid"), make_record(dataset="test"), make_record(label="00_RLFN", dataset="valid")]
    records = [*(changed(its, model={"checkpoint": "selftrained"}) for its in both[:2]), both[2]]
    title, *lines = template_tables(current(records), "valid", "test").splitlines()
    assert title.endswith(", 2 threads; weights that the authors did not release: 03_PFDNLite (selftrained)")
    assert [line.split()[0] for line in lines] == ["Model", "00_RLFN", "03_PFDNLite"]


def test_of_too_few_samples_a_ratio_has_no_interval_but_that_to_itself_is_one(tmp_path: Path):
    """Of an older record, too, which leaves its interval open; in the table, in CSV, and whatever its label becomes."""
    ratios = [Ratio(baseline="00_RLFN", estimate=its, low=-math.inf, high=math.inf) for its in (1.0, 0.75)]
    records = [steady(label, 20.0, its) for label, its in zip(("00_RLFN", "03_PFDNLite"), ratios, strict=True)]
    records = [read_record(write_record(its, tmp_path)) for its in records]
    marked = changed(records[0], model={"label": "00_RLFN (mine)"})
    assert STEADY_COLUMNS[-1].cell(marked).text == "1.000 [1.000, 1.000]"
    assert STEADY_COLUMNS[-1].csv(marked) == {"ratio": 1, "ratio_low": 1, "ratio_high": 1, "ratio_to": "00_RLFN"}
    assert baseline_of([make_record(), marked]) == 1
    cells = [STEADY_COLUMNS[-1].cell(its).text for its in records]
    assert cells == ["1.000 [1.000, 1.000]", "0.750 (too few samples)"]
    found = compare_sides(*(Side.of_record(its, records) for its in reversed(records)))
    (row,) = comparison_table([found]).rows
    assert row[-2].text == "0.000 (too few samples)"


def test_every_set_machine_and_protocol_is_a_template_table_of_its_own():
    records = [make_record((27.0,)), make_record((26.0,), dataset="Set9"), make_record((25.0,), dataset="valid")]
    records.append(make_record((24.0,), settings={"device": "cuda"}, environment={"gpu": "NVIDIA H100"}))
    parts = [part.splitlines() for part in template_tables(current(records), "valid", None).split("\n\n")]
    assert [part[0] for part in parts] == [
        "# Set2, 1 image; protocol official, on A processor, 2 threads",
        "# Set2, 1 image; protocol official, on NVIDIA H100, A processor",
        "# Set9, 1 image; protocol official, on A processor, 2 threads",
        "# valid, 1 image; protocol official, on A processor, 2 threads",
    ]
    assert [part[2].split()[1] for part in parts] == ["27.00", "24.00", "26.00", "25.00"]
    # Only the challenge's own set fills "Val" columns.
    assert [part[1].split("\t")[1].strip() for part in parts] == ["PSNR", "PSNR", "PSNR", "Val PSNR"]


def test_csv_tells_machines_apart(tmp_path: Path):
    for second, gpu in enumerate(("NVIDIA A100", "NVIDIA H100")):
        record = make_record(settings={"device": "cuda"}, environment={"gpu": gpu}, key=str(second) * 64)
        write_record(record, tmp_path / "records")
    write_tables(tmp_path, "Set2", None)
    frame = pd.read_csv(tmp_path / "results.csv")
    assert frame["machine"].tolist() == ["NVIDIA A100, A processor", "NVIDIA H100, A processor"]
    assert (tmp_path / "results.txt").read_text().count("03_PFDNLite") == 2


def test_csv_is_unrounded_and_pandas_reads_numbers(tmp_path: Path):
    untimed = {"protocol": "accuracy", "tile": 64, "tile_overlap": 16}
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
    heading = next(line for line in markdown_leaderboard(current([record])).splitlines() if line.startswith("## "))
    assert heading == r'## =HYPERLINK("x")\|\<b\> (1 image, official, A processor, 2 threads)'


def test_hostile_labels_stay_one_cell_of_text():
    record = make_record((20.0,), model={"label": "=1+1|<b>\n\u2028x"})
    (row,) = csv_table([record]).splitlines()[1:]
    assert row.startswith("'=1+1|<b>\\n\\u2028x,")
    rows = [
        line for line in markdown_leaderboard(current([record])).splitlines() if "1+1" in line and line.startswith("|")
    ]
    assert len(rows) == 1
    assert r"=1+1\|\<b\>" in rows[0]
    assert sum("1+1" in line for line in leaderboard([record]).splitlines()) == 1


def test_markdown_by_hand():
    lines = markdown_leaderboard(
        current([make_record((26.894, 26.904)), make_record((20.0, 22.0), label="00_RLFN")])
    ).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0][:4] == ["Model", "PSNR [dB]", "SSIM", "Time [ms]"]
    assert {tuple(row[:4]) for row in rows[2:]} == {
        (r"03\_PFDNLite", "26.90", "0.5000", "75.00"),
        (r"00\_RLFN", "21.00", "0.5000", "75.00"),
    }


def test_figures_that_were_not_taken_are_dashes_and_infinity_is_said():
    record = make_record((math.inf, 20.0), complexity=None, peak_memory_mib=None)
    assert [column.cell(record).text for column in columns_of([record])] == ["inf", "0.5000", "75.00", *["-"] * 5]


def test_half_precision_stands_beside_float32_and_in_a_table_of_its_own(tmp_path: Path):
    plain = make_record((21.0,), settings={"protocol": "accuracy"})
    settings = {"protocol": "accuracy", "engine": "compiled", "precision": "bf16"}
    half = make_record((20.0,), second=1, settings=settings)
    for record in (plain, half):
        write_record(record, tmp_path / "records")
    write_tables(tmp_path, "Set2", None)
    headings = [line for line in (tmp_path / "leaderboard.md").read_text().splitlines() if line.startswith("## ")]
    assert [heading.partition(", accuracy, ")[2] for heading in headings] == ["A processor)", "A processor, bf16)"]
    lines = (tmp_path / "results.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# Set2, 1 image; protocol accuracy, on A processor",
        "# Set2, 1 image; protocol accuracy, on A processor, bf16",
    ]
    assert [line.split()[1] for line in lines if line.startswith("03")] == ["21.00", "20.00"]
    assert "Settings that are not the default (plain torch in float32): bf16." in legend([half])
    # Engines whose figures share a table are named there.
    assert "Engines: compiled." in legend([half])
    assert "Engines: compiled (03_PFDNLite), eager (00_RLFN)." in legend(
        [half, changed(plain, model={"label": "00_RLFN"})]
    )
    assert not any(line.startswith("Engines") for line in legend([plain]))


def test_the_legend_says_what_the_times_hold():
    assert any("with the cold first image" in line for line in legend([make_record()]))
    untimed = make_record(settings={"protocol": "accuracy"})
    assert not any(line.startswith("Time") for line in legend([untimed]))


def test_the_legend_says_of_which_models_memory_is_not_comparable():
    twice = [make_record(label=label, dataset=its) for its in ("Set2", "Set5") for label in ("00_RLFN", "03_PFDNLite")]
    assert [line for line in legend(twice) if line.startswith("Mem")] == ["Mem: by hand."]
    otherwise = [changed(record, peak_memory_method="by eye") for record in twice[::2]]
    assert legend([*otherwise, *twice[1::2]])[-2:] == [
        "Mem of 00_RLFN, not comparable with others: by eye.",
        "Mem of 03_PFDNLite, not comparable with others: by hand.",
    ]
    elsewhere = changed(twice[0], environment={"cpu": "Another"})
    assert legend([elsewhere, *twice[1::2]])[-2:] == [
        "Mem of 03_PFDNLite, not comparable with others: by hand, on A processor.",
        "Mem of 00_RLFN, not comparable with others: by hand, on Another.",
    ]


def test_the_legend_says_which_figures_are_of_tiles():
    def cut(label: str, tile: int | None, overlap: int | None) -> Record:
        settings = {"protocol": "accuracy", "tile": tile, "tile_overlap": overlap}
        return make_record(label=label, settings=settings)

    def said(*records: Record) -> list[str]:
        return [line for line in legend(records) if "tiles" in line]

    whole, one, two, other = (
        cut("00_RLFN", None, None), cut("03_PFDNLite", 128, 32), cut("05_SPAN", 128, 32), cut("08_ABPN", 64, None)
    )  # fmt: skip
    assert said(whole) == []
    assert said(one, two) == ["Images larger than 128 LR pixels a side ran in tiles of 128 with an overlap of 32."]
    assert said(whole, one, two, other) == [
        "Images larger than 128 LR pixels a side ran in tiles of 128 with an overlap of 32: 03_PFDNLite, 05_SPAN.",
        "Images larger than 64 LR pixels a side ran in tiles of 64: 08_ABPN.",
    ]


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


def steady(label: str, ms: float, ratio: Ratio | None, **changes) -> Record:
    timing = timing_of(((ms, ms), (ms, ms)), ratio=ratio, p90_ms=ms)
    record = make_record((27.0, 27.0), label=label, settings={"protocol": "steady"}, timing=timing, **changes)
    return changed(record, means=record.means | {"runtime_ms": Mean(mean=ms, count=2)})


STEADY = [
    steady("00_RLFN", 20.0, Ratio(baseline="00_RLFN", estimate=1.0, low=1.0, high=1.0)),
    steady("03_PFDNLite", 15.0, Ratio(baseline="00_RLFN", estimate=0.75, low=0.7391, high=0.7612)),
]


def test_steady_records_show_their_ratio_with_its_interval():
    rows = [line for line in markdown_leaderboard(current(STEADY)).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0][3:6] == ["Time [ms]", "p90 [ms]", "Ratio [x]"]
    assert cells[3][3:6] == ["15.00", "15.00", "0.750 [0.739, 0.761]"]
    notes = legend(STEADY)
    assert "Ratio: of runtimes to 00_RLFN, with its 95% interval; paired by image and round." in notes
    dropped = "Dropped because other work disturbed them: 2 measurements, each one image on all models"
    assert f"{dropped}: 2 by thermal slowdown." in notes


def test_times_that_hold_the_giving_back_of_memory_say_so():
    note = "Freed memory was returned to the system between forwards, so times are longer: 00_RLFN, 03_PFDNLite."
    assert note in legend(STEADY)
    kept = [changed(its, environment={"keeps_freed_memory": True}) for its in STEADY]
    assert not any("given back" in line for line in legend(kept))
    submission = changed(STEADY[1], model={"in_worker": True})
    assert note.replace(", 03_PFDNLite", "") in legend([STEADY[0], submission])


def test_a_gpu_that_could_not_be_watched_is_told():
    note = "The GPU did not tell its clock and its processes, so nothing was dropped for what these would show."
    assert note not in legend(STEADY)
    told = changed(STEADY[1], timing={"unwatched": ("its processes", "its clock")})
    assert note in legend([STEADY[0], told])


def test_times_of_a_part_of_the_images_are_told():
    def part(record: Record) -> Record:
        return changed(record, timing={"image_names": ("a",), "samples_ms": record.timing.samples_ms[:1]})

    one, other = STEADY
    assert not any(line.startswith("Timed on") for line in legend(STEADY))
    assert "Timed on 1 of 2 images of Set2." in legend([part(one), part(other)])
    untimed = make_record(label="05_SPAN", settings={"protocol": "accuracy"})
    assert "Timed on 1 of 2 images of Set2: 03_PFDNLite." in legend([one, part(other), untimed])


def test_models_that_were_timed_apart_are_told():
    apart = changed(STEADY[1], timing={"group": "another"})
    note = "Timed in 2 separate runs; ratios compare models of one run only: 00_RLFN; 03_PFDNLite."
    assert note in legend([STEADY[0], apart])
    assert not any("separate runs" in line for line in legend(STEADY))


def test_csv_holds_the_ends_of_the_interval(tmp_path: Path):
    (tmp_path / "results.csv").write_text(csv_table(STEADY))
    frame = pd.read_csv(tmp_path / "results.csv").set_index("model")
    of_ratio = ["ratio", "ratio_low", "ratio_high", "ratio_to"]
    assert frame.loc["03_PFDNLite", of_ratio].tolist() == [0.75, 0.7391, 0.7612, "00_RLFN"]


def test_ratios_of_two_runs_are_not_marked_against_each_other():
    marked = {key: f"\\textbf{{{text}" for key, text in (("ratio", "0.750 [0.739, 0.761]"), ("time", "15.00"))}
    assert all(text in leaderboard(STEADY) for text in marked.values())
    apart = leaderboard([STEADY[0], changed(STEADY[1], timing={"group": "another"})])
    assert marked["ratio"] not in apart
    assert marked["time"] in apart


def test_times_over_other_images_are_not_marked_against_each_other():
    part = {"image_names": ("a",), "samples_ms": STEADY[1].timing.samples_ms[:1]}
    text = leaderboard([STEADY[0], changed(STEADY[1], timing=part)])
    assert r"\textbf{15.00}" not in text
    assert "15.00" in text


def test_flags_are_told_below_the_table():
    flagged = make_record((20.0,), flags=(Flag(code="bound", text="FLOPs 1 are under *0.8*"),))
    assert r"- 03\_PFDNLite: FLOPs 1 are under \*0.8\*" in markdown_leaderboard(current([flagged])).splitlines()


def test_latex_marks_the_best_and_the_second():
    text = leaderboard([*STEADY, steady("05_SPAN", 10.0, None, dataset="Set2")])
    rlfn, pfdnlite, span = text.splitlines()[4:7]
    assert r"\textbf{10.00}" in span
    assert r"\underline{15.00}" in pfdnlite
    assert r"\textbf{0.750 [0.739, 0.761]}" in pfdnlite
    assert r"\textbf{20.00}" not in rlfn
    # All PSNRs are equal: there is no best.
    assert r"\textbf{27.00}" not in text


def test_latex_marks_networks_alone():
    bicubic = changed(steady("05_SPAN", 1.0, None), model={"id": -1, "label": "Bicubic"})
    text = leaderboard([bicubic, *STEADY, steady("05_SPAN", 10.0, None, dataset="Set2")])
    assert r"\textbf{10.00}" in text
    assert "1.00 " in text
    assert r"\textbf{1.00}" not in text


def test_a_column_without_any_figure_is_left_out():
    images = [its.model_copy(update={"ssim": None}) for its in make_record().images]
    record = changed(make_record(), images=tuple(images), means={"psnr_db": make_record().means["psnr_db"]})
    for text in (leaderboard([record]), markdown_leaderboard(current([record]))):
        assert "PSNR [dB]" in text
        assert "SSIM" not in text
        assert "Time [ms]" not in text


def test_latex_escapes_everything():
    assert latex("a_b & 100% of {x} ~ \\ ^ # $") == (
        r"a\_b \& 100\% of \{x\} \textasciitilde{} \textbackslash{} \textasciicircum{} \# \$"
    )


def test_csv_says_all_that_a_notebook_needs_and_integers_stay_integers():
    (row,) = csv.DictReader(csv_table([make_record((26.9,))]).splitlines())
    described = ("model_id", "team", "edition", "scale", "torch", "date", "device", "num_params", "dataset")
    assert [row[key] for key in described] == [
        "3", "BSR", "NTIRE 2024", "4", make_record().environment.torch, "2026-01-02", "cpu", "218288", "Set2",
    ]  # fmt: skip


@pytest.mark.parametrize(("origin", "number"), [("file", 0), ("memory", -1)])
def test_csv_has_no_number_and_no_edition_for_ones_own_network(origin: str, number: int):
    record = changed(make_record(), model={"origin": origin, "id": number, "team": ""})
    (row,) = csv.DictReader(csv_table([record]).splitlines())
    assert [row[key] for key in ("model_id", "team", "edition")] == ["", "", ""]


def test_a_report_keeps_protocols_devices_and_sets_apart(tmp_path: Path):
    other_set = make_record((20.0,), dataset="Set9")
    paths = write_report([*STEADY, make_record((26.0,)), other_set], tmp_path / "out")
    assert [path.name for path in paths] == ["leaderboard.md", "leaderboard.csv", "leaderboard.tex"]
    headings = [line for line in paths[0].read_text().splitlines() if line.startswith("## ")]
    assert headings == [
        "## Set2 (2 images, steady, A processor, 2 threads)",
        "## Set2 (1 image, official, A processor, 2 threads)",
        "## Set9 (1 image, official, A processor, 2 threads)",
    ]
    assert paths[2].read_text().count(r"\begin{tabular}") == 3


def test_run_and_report_write_the_same_leaderboard_with_headlines_and_failures(tmp_path: Path):
    failed = make_record((), label="05_SPAN", status="failed", reason="out of memory")
    for record in (make_record((26.0,)), make_record((27.0,), label="00_RLFN"), failed):
        write_record(record, tmp_path / "records")
    texts = []
    for write in (
        lambda: Session(RunConfig(protocol=Protocol.STEADY), tmp_path, Launch()).finish(valid="Set2"),
        lambda: report([tmp_path], save_dir=tmp_path),
    ):
        write()
        texts.append((tmp_path / "leaderboard.md").read_text())
    assert texts[0] == texts[1]
    assert r"**03\_PFDNLite is the only model ranked by the rules" in texts[0]
    assert "out of memory" in texts[0].partition("## Did not run")[2]


def test_what_was_not_counted_is_a_dash_in_every_table(tmp_path: Path):
    partly = {"flops": None, "activations": None, "num_conv": None, "faults": {"FLOPs": "x"}}
    record = make_record((25.0,), complexity=partly)
    assert template_table([TemplateRow.of_record(record)]).splitlines()[1].split("\t")[3:] == [
        "0.218     ", "-         ", "-       ", "105.46  ", "-       ",
    ]  # fmt: skip
    (row,) = csv.DictReader(csv_table([record]).splitlines())
    assert (row["num_params"], row["flops"], row["activations"], row["num_conv"]) == ("218288", "", "", "")
    facts = dict(_complexity_facts(record))
    assert facts["FLOPs by fvcore"] == "not counted"
    assert facts["FLOPs by torch's dispatcher"] == "11.902 G"
