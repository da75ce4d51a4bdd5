"""The table that a person sees: no figure is cut, and what does not fit is named."""

import io
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from eval.cli.model_tables import zoo_table
from eval.cli.terminal import Terminal
from eval.records.record import Record, means_of
from eval.zoo.manifest import all_models
from tests.records.test_record import changed, make_record


def printed(records: list, width: int) -> list[str]:
    terminal = Terminal()
    terminal._out = Console(file=io.StringIO(), width=width, highlight=False, force_terminal=True, color_system=None)
    terminal.table(records)
    return terminal._out.file.getvalue().splitlines()


@pytest.fixture
def records() -> list:
    return [make_record((26.9,)), make_record((24.594,), label="2024-16_A_rather_long_name")]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_figure_is_cut_at_any_width(records: list, width: int):
    lines = printed(records, width)
    assert not any("…" in line for line in lines)
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "rather_long_name" in line)
    assert "24.59" in row


@pytest.mark.parametrize("label", ["A", "\u65e5\u672c\u8a9e\u306e\u540d\u524d\u3067\u3059"])
def test_no_figure_is_cut_beside_a_name_that_is_short_or_of_wide_characters(label: str):
    """A heading can be wider than its column's cells, and a character can take two places."""
    record = changed(make_record((26.9,)), model={"label": label})
    assert [width for width in range(60, 121) if any("\u2026" in line for line in printed([record], width))] == []


def test_what_does_not_fit_is_named_and_what_was_not_taken_is_not_shown(records: list):
    wide, narrow = printed(records, 200), printed(records, 70)
    assert any("Conv" in line for line in wide[:4])
    assert not any("Conv" in line for line in narrow[:4])
    assert any("Columns that do not fit this window" in line and "Conv" in line for line in narrow)
    assert not any("Left out" in line for line in wide)
    # None of these records has a ratio.
    assert not any("Ratio" in line for line in wide[:4])


def test_of_the_metrics_psnr_alone_is_always_shown(records: list):
    images = [image.model_copy(update={"psnr_y_db": 28.4177, "ssim_y": 0.8}) for image in records[0].images]
    full = [changed(record, images=tuple(images), means=means_of(images)) for record in records]
    (left_out,) = (line for line in printed(full, 77) if "Columns that do not fit" in line)
    assert "Mem, Acts, SSIM-Y, PSNR-Y" in left_out
    assert not any("28.42" in line for line in printed(full, 77))
    assert any("28.42" in line for line in printed(full, 200))


def test_the_best_and_the_second_of_each_set_are_marked_and_bicubic_is_none():
    def named(label: str, psnr: float, dataset: str, number: int = 0) -> Record:
        return make_record((psnr,), dataset=dataset, model={"id": number, "label": label})

    rows = [
        named("Bicubic", 40.0, "A", -1),
        named("00_x", 21.0, "A"),
        named("01_y", 22.0, "A"),
        named("02_z", 23.0, "A"),
    ]
    rows += [named("00_x", 33.0, "B"), named("01_y", 32.0, "B"), named("02_z", 31.0, "B")]
    terminal = Terminal()
    terminal._out = Console(file=io.StringIO(), width=100, highlight=False, force_terminal=True)
    terminal.table(rows)
    lines = terminal._out.file.getvalue().splitlines()

    def marks(code: str) -> list[str]:
        return [re.search(r"Bicubic|0\d_.", line)[0] for line in lines if re.search(rf"\x1b\[{code}m\d\d\.\d\d", line)]

    assert marks("1") == ["02_z", "00_x"]
    assert marks("4") == ["01_y", "01_y"]


def test_what_is_the_same_for_all_models_and_sets_is_said_once():
    terminal = Terminal()
    terminal._out = Console(file=io.StringIO(), width=100, highlight=False)
    for label in ("00_RLFN", "03_PFDNLite"):
        for dataset in ("A", "B"):
            terminal.announce(
                SimpleNamespace(config="accuracy", model=SimpleNamespace(info=make_record(label=label).model, note="x"))
            )
            terminal.finished(make_record((26.9,), label=label, dataset=dataset))
    said = terminal._out.file.getvalue().splitlines()
    assert [line.partition(" ")[0] for line in said] == ["running", "model", "done", "done", "model", "done", "done"]
    assert said[2] == "done     00_RLFN on A: PSNR 26.90 dB, SSIM 0.5000, Time 100.00 ms"


def test_a_run_of_several_ends_with_who_is_first_and_a_report_begins_with_it(command, hr_folder: Path):
    wanted = ("--models", "8,3", "--data_dir", hr_folder, "--protocol", "accuracy", "--device", "cpu", "--threads", "1")
    said = command("-m", "eval", "run", *wanted, "--no_images").stdout
    (end,) = re.finditer(
        r"^photos: \w+( \(selftrained\))? has the highest PSNR of 2 networks on photos \(2 images\), ", said, re.M
    )
    assert said.index(" Model ") < end.start()
    report = command("-m", "eval", "report", "results", "--out", "board").stdout
    assert report.index("has the highest PSNR of 2 networks") < report.index(" Model ")


def test_a_set_without_ground_truth_says_what_that_means(command, tmp_path: Path, hr_folder: Path):
    shutil.copytree(hr_folder, tmp_path / "my_LR")
    said = command("test_demo.py", "--model_id", "-1", "--data_dir", tmp_path / "my_LR", "--device", "cpu").stdout
    assert "there is no ground truth and no PSNR" in said


def test_the_zoo_takes_two_lines_a_model_in_80_columns():
    console = Console(file=io.StringIO(), width=80)
    console.print(zoo_table(all_models())[0])
    rows = console.file.getvalue().rstrip().splitlines()[4:]
    assert max(map(len, rows)) <= 80
    starts = [place for place, row in enumerate(rows) if re.match(r" +-?\d+ ", row)]
    assert len(starts) == len(all_models())
    assert max(after - before for before, after in zip(starts, [*starts[1:], len(rows)], strict=True)) <= 2


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
def test_a_reader_that_goes_ends_no_run():
    terminal = Terminal()
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        for console in (terminal._out, terminal._err):
            console.file = pipe
        os.close(reading)
        terminal.say("nobody reads this")
        terminal.warn("nor this")
        terminal.show(zoo_table(all_models())[0])
        # What is left to write does not raise either, as when the process ends.
        pipe.write("at the end")


def test_names_of_sets_are_no_markup():
    terminal = Terminal()
    terminal._err = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    for name in ("[/x]", "data[test]"):
        with terminal.progress(name, 1, "rounds") as on_round:
            on_round(None)
        assert name in terminal._err.file.getvalue()
