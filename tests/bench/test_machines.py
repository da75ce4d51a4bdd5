"""Whole commands on several machines: what is run, what is kept, and the table with a column for each."""

import json
from pathlib import Path

import pytest

from bench import machines, speed_report


@pytest.fixture
def ran(monkeypatch, tmp_path: Path) -> list[tuple]:
    """Let no process start: each takes a second more than the last."""
    calls: list[tuple] = []

    def child(module: str, *arguments: object, cache: Path | None = None) -> dict:
        calls.append((module, arguments, cache))
        return {"process_s": float(len(calls))}

    monkeypatch.setattr(machines, "child", child)
    monkeypatch.setattr(machines, "half_precision_gain", lambda *_given: 1.0)
    monkeypatch.setattr(machines, "open_dataset", lambda *_given: None)
    monkeypatch.setattr(machines, "lay_out", lambda *_given: None)
    return calls


def test_a_first_run_is_one_and_finds_nothing_in_its_cache(ran: list[tuple], tmp_path: Path):
    entry = machines.measured(tmp_path, None, 5, 2)
    caches = [cache for module, _, cache in ran if module == "bench.our_side"]
    # Of each of both that are taken: five rows twice, and three first runs.
    assert len(caches) == 2 * (2 * 5 + 3)
    assert sorted(map(caches.count, set(caches))) == sorted(2 * [3, 2, 2, 3, 3])
    assert not any(" " in str(cache) for cache in caches)
    assert sum("--ssim" in arguments for _, arguments, _ in ran) == sum("--save" in its for _, its, _ in ran) / 2
    # With SSIM the first round takes seconds 1 to 9, and the second one 19 to 24.
    with_ssim = entry["seconds"]["PSNR, SSIM, PNG"]
    assert (with_ssim["template"], with_ssim["auto, first run"], with_ssim["auto"]) == ((1 + 19) / 2, 2, (3 + 20) / 2)
    assert with_ssim["compiled, bf16, first run"] == 8
    assert with_ssim.keys() == entry["seconds"]["PSNR, PNG"].keys() <= set(speed_report.SIDES)
    assert (entry["images"], entry["rounds"]) == (5, 2)


def test_half_precision_that_a_run_would_refuse_is_left_out(ran: list[tuple], tmp_path: Path, monkeypatch):
    monkeypatch.setattr(machines, "half_precision_gain", lambda *_given: 0.9)
    assert "compiled, bf16" not in machines.measured(tmp_path, None, 5, 1)["seconds"]["PSNR, PNG"]
    assert not any("bf16" in arguments for _, arguments, _ in ran)


ENVIRONMENT = {"cpu": "A", "torch": "2.13.0", "opencv": "5", "numpy": "2", "threads": 8}


def test_the_report_tells_the_machine_that_it_was_measured_on():
    figures = {"date": "2026-11-24", "images": 9, "rounds": 3, "set": "Set5", "environment": ENVIRONMENT}
    assert " of Set5. Measured on A, 8 threads; torch 2.13.0, " in speed_report._head(figures)
    figures["environment"] = ENVIRONMENT | {"instructions": "AVX2"}
    assert " Measured on A (AVX2), 8 threads; " in speed_report._head(figures)


def test_the_reports_own_machine_is_a_column_with_loading_and_compiling():
    ours = {"check_s": 1.0, "passes": [{"wall_s": 4.0, "prepare_s": 2.0}]}
    figures = {
        **{"date": "2026-11-24", "images": 9, "rounds": 3, "environment": ENVIRONMENT},
        "runs": {
            **{"template --ssim --save": {"wall_s": 20.0}, "compiled bf16 --ssim --save": ours},
            **{"template --save": {"wall_s": 8.0}, "channels-last fp32 --save": ours, "template": {"wall_s": 3.0}},
        },
    }
    assert speed_report._this_machine(figures)["seconds"] == {
        "PSNR, SSIM, PNG": {"template": 20.0, "compiled, bf16": 7.0},
        "PSNR, PNG": {"template": 8.0, "channels-last": 7.0},
    }


def test_a_machine_takes_the_place_of_itself_on_the_same_day_alone():
    first = {"processor": "A", "kind": "AVX2", "date": "2026-11-25", "threads": 2, "images": 100, "seconds": {}}
    again, later = first | {"seconds": {"PSNR": {}}}, first | {"date": "2026-11-26"}
    assert machines.with_machine([first], again) == [again]
    assert machines.with_machine([first], later) == [first, later]


def test_each_machine_has_a_column_with_its_date():
    old = {"kind": "AVX2", "processor": "A", "date": "2026-11-25", "images": 100, "threads": 2}
    old["note"] = "Measured then"
    new = {"kind": "AMX", "processor": "B", "date": "2026-11-26", "images": 20, "threads": 8, "rounds": 3}
    new["torch"] = "2.13.0"
    old["seconds"] = {"PSNR": {"compiled": 50.0, "template": 100.0, "bf16": "184 to 198"}}
    new["seconds"] = {"PSNR": {"template": 30.0, "eager": 7.5}}
    lines = speed_report._by_machine([old, new]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert cells == [
        ["taken", "side", "AVX2, 2026-11-25, 100 images", "AMX, 2026-11-26, 20 images"],
        ["PSNR", "template", "100.0", "30.0"],
        ["PSNR", "eager", "", "7.5 (4.00x)"],
        ["PSNR", "compiled", "50.0 (2.00x)", ""],
        ["PSNR", "bf16", "184 to 198", ""],
    ]
    assert lines[-2:] == [
        "- AVX2: A, 100 images, 2 threads. Measured then",
        "- AMX: B, 20 images, 8 threads, medians of 3 runs, torch 2.13.0",
    ]


def test_the_machines_that_are_kept_name_rows_that_there_are():
    kept = json.loads((machines.RESULTS / speed_report.MACHINES).read_text(encoding="utf-8"))
    assert {side for machine in kept for its in machine["seconds"].values() for side in its} <= set(speed_report.SIDES)
