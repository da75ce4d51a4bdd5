"""The report of a GPU's checks: each in a process of its own, and nothing found out is lost."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from bench import gpu_report
from bench.gpu_checks import Row, check_memory
from eval.cli.program import new_app


def _right(_device: torch.device) -> Iterator[Row]:
    yield Row("one", "1.5 ms", True)
    yield Row("figure", "3 MiB")


def _failing(_device: torch.device) -> Iterator[Row]:
    yield Row("before", "fine", True)
    raise RuntimeError("CUDA error: an illegal memory access")


def _endless(_device: torch.device) -> Iterator[Row]:
    time.sleep(600)
    yield Row("never", "")


def _run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **checks):
    monkeypatch.setattr(gpu_report, "CHECKS", checks)
    monkeypatch.setattr(gpu_report, "TRAINING_CHECKS", {})
    monkeypatch.setattr(gpu_report, "device_name", lambda _device: "NVIDIA H100 80GB (PCIe)")
    app = new_app()
    app.command()(gpu_report.report)
    result = CliRunner().invoke(app, ["--device", "cpu", "--out", str(tmp_path)])
    return result, (tmp_path / "gpu-nvidia-h100-80gb-pcie.md").read_text(encoding="utf-8")


def test_all_that_is_right_ends_with_0(monkeypatch, tmp_path: Path):
    result, page = _run(monkeypatch, tmp_path, right=(_right, 60))
    assert result.exit_code == 0
    assert "| right   | one    | 1.5 ms | right |" in page


def test_what_fails_or_takes_too_long_costs_nothing_that_was_found(monkeypatch, tmp_path: Path):
    checks = {"failing": (_failing, 60), "endless": (_endless, 1), "right": (_right, 60)}
    result, page = _run(monkeypatch, tmp_path, **checks)
    assert "2 rows" in str(result.exception)
    for words in ("before", "RuntimeError: CUDA error", "not within 1 s", "1.5 ms"):
        assert words in page


def test_the_checks_themselves_run_where_there_is_no_gpu():
    rows = list(check_memory(torch.device("cpu")))
    assert [row.what for row in rows] == ["peak of 256 MiB"]
    assert rows[0].right
