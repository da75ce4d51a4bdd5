"""The table that a person sees: no figure is cut, and what does not fit is named."""

import io

import pytest
from rich.console import Console

from eval.cli.terminal import Terminal
from eval.records.record import means_of
from tests.records.test_record import make_record


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


def test_what_does_not_fit_is_named_and_what_was_not_taken_is_not_shown(records: list):
    wide, narrow = printed(records, 200), printed(records, 70)
    assert any("Conv" in line for line in wide[:4])
    assert not any("Conv" in line for line in narrow[:4])
    assert any("Left out for want of room" in line and "Conv" in line for line in narrow)
    assert not any("Left out" in line for line in wide)
    # None of these records has a ratio.
    assert not any("Ratio" in line for line in wide[:4])


def test_of_the_metrics_psnr_alone_is_always_shown(records: list):
    images = [image.model_copy(update={"psnr_y_db": 28.4177, "ssim_y": 0.8}) for image in records[0].images]
    full = [record.model_copy(update={"images": tuple(images), "means": means_of(images)}) for record in records]
    (left_out,) = (line for line in printed(full, 80) if "Left out" in line)
    assert "Mem, Acts, SSIM-Y, PSNR-Y" in left_out
    assert not any("28.42" in line for line in printed(full, 80))
    assert any("28.42" in line for line in printed(full, 200))
