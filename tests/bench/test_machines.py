"""Whole commands on several machines: what is run, what is kept, and the table with a column for each."""

import json
from pathlib import Path

import pytest

from bench import machines, speed_report


@pytest.fixture
def ran(monkeypatch, tmp_path: Path) -> list[tuple]:
    """Let no process start: each takes a second more than the last."""
    calls: list[tuple] = []

    def child(module: str, *arguments: object, cache: str | None = None) -> dict:
        calls.append((module, arguments, cache))
        return {"process_s": float(len(calls))}

    monkeypatch.setattr(machines, "child", child)
    monkeypatch.setattr(machines, "open_dataset", lambda *_given: None)
    monkeypatch.setattr(machines, "lay_out", lambda *_given: None)
    return calls


def test_a_first_run_is_one_and_finds_nothing_in_the_cache(ran: list[tuple], tmp_path: Path):
    entry = machines.measured(tmp_path, None, 5, 2)
    ours = [(arguments, cache) for module, arguments, cache in ran if module == "bench.our_side"]
    assert len(ran) - len(ours) == 2 * 2
    # Of each of both that are taken: five rows twice, and two first runs.
    assert len(ours) == 2 * (2 * 5 + 2)
    caches = [cache for _, cache in ours]
    assert sorted(map(caches.count, set(caches))) == [1, 1, 1, 1, 20]
    assert all(("--save" in arguments) for arguments, _ in ours)
    assert sum("--ssim" in arguments for arguments, _ in ours) == len(ours) / 2
    # The first round with SSIM takes seconds 1 to 8, one without 9 to 16, and the second one with it 17 to 22.
    assert entry["seconds"]["PSNR, SSIM, PNG"]["template"] == (1 + 17) / 2
    assert entry["seconds"]["PSNR, SSIM, PNG"]["auto, first run"] == 2
    assert list(entry["seconds"]["PSNR, PNG"]) == ["template", *machines.OURS]
    assert (entry["images"], entry["rounds"]) == (5, 2)


def test_a_machine_takes_the_place_of_itself_on_the_same_day_alone():
    first = {"processor": "A", "kind": "AVX2", "date": "2026-11-25", "threads": 2, "images": 100, "seconds": {}}
    again, later = first | {"seconds": {"PSNR": {}}}, first | {"date": "2026-11-26"}
    assert machines.with_machine([first], again) == [again]
    assert machines.with_machine([first], later) == [first, later]


def test_each_machine_has_a_column_with_its_date():
    old = {"kind": "AVX2", "processor": "A", "date": "2026-11-25", "images": 100, "note": "Measured then"}
    new = {"kind": "AMX", "processor": "B", "date": "2026-11-26", "images": 20, "rounds": 3, "torch": "2.13.0"}
    old["seconds"] = {"PSNR": {"compiled": 50.0, "template": 100.0, "bf16": "184 to 198"}}
    new["seconds"] = {"PSNR": {"template": 30.0, "eager": 7.5}}
    lines = speed_report._by_machine([old, new]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert cells == [
        ["taken", "side", "AVX2, 2026-11-25", "AMX, 2026-11-26"],
        ["PSNR", "template", "100.0", "30.0"],
        ["PSNR", "eager", "", "7.5 (4.00x)"],
        ["PSNR", "compiled", "50.0 (2.00x)", ""],
        ["PSNR", "bf16", "184 to 198", ""],
    ]
    assert lines[-2:] == [
        "- AVX2: A, 100 images. Measured then",
        "- AMX: B, 20 images, medians of 3 runs, torch 2.13.0",
    ]


def test_the_machines_that_are_kept_name_rows_that_there_are():
    kept = json.loads((machines.RESULTS / speed_report.MACHINES).read_text(encoding="utf-8"))
    assert {side for machine in kept for its in machine["seconds"].values() for side in its} <= set(speed_report.SIDES)
    assert {"template", *machines.OURS} <= set(speed_report.SIDES)
