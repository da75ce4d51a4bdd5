"""The template's side: its own run() with one line turned on; and what the report says of runs."""

import sys
from pathlib import Path

import pytest

from bench import speed_report, template_side

PROGRAM = """
from types import SimpleNamespace
saved = []
util = SimpleNamespace(imsave=lambda image, path: saved.append(path))
def run():
    img_sr = "pixels"
    # util.imsave(img_sr, "a.png")
    return "ran"
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "test_demo.py").write_text(PROGRAM)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "test_demo", raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("test_demo", None)


@pytest.mark.parametrize(("save", "expected"), [(True, ["a.png"]), (False, [])])
def test_the_templates_line_that_saves_is_turned_on_when_asked(checkout: Path, save: bool, expected: list):
    template = template_side.load(checkout, save)
    assert template.run() == "ran"
    assert template.saved == expected


def test_another_template_is_refused(checkout: Path):
    (checkout / "test_demo.py").write_text("def run():\n    return None\n")
    with pytest.raises(RuntimeError, match=r"has no line '# util\.imsave"):
        template_side.load(checkout, save=True)


def test_throughput_is_told_with_and_without_the_check_of_files():
    template = {"wall_s": 20.0, "psnr_db": [30.0, 31.0], "peak_mib": 900.0}
    ours = {"check_s": 1.0, "passes": [{"wall_s": 4.0, "psnr_db": [30.0, 31.002]}], "peak_mib": 700.0}
    runs = {
        f"{side}{flags}": run
        for flags in (" --ssim --save", " --save", "")
        for side, run in (("template", template), ("eager fp32", ours))
    }
    text = speed_report._throughput({"runs": runs, "images": 2})
    row = next(line for line in text.splitlines() if "PSNR, SSIM, PNG" in line and "eager" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "PSNR, SSIM, PNG", "eager fp32", "2000.0", "5.00", "4.00", "+0.00100", "0.00200", "700",
    ]  # fmt: skip
