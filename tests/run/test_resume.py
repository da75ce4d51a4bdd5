"""A command that is killed at any moment, or given twice at once, loses no row and doubles none."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.planted_checkout import copy_of_planted

MODELS = "0,5,6,8"


@pytest.fixture
def start(tmp_path: Path, hr_folder: Path) -> Callable[..., subprocess.Popen]:
    """Start a run of four planted submissions, one of them with its own forward, two that cannot run."""
    checkout = copy_of_planted(tmp_path / "checkout")
    command = [sys.executable, "-m", "eval", "run", "--checkout", checkout, "--models", MODELS, "--data_dir", hr_folder]
    command += ["--protocol", "accuracy", "--save_dir", tmp_path / "out", "--device", "cpu", "--threads", "1"]
    command += ["--sandbox", "none", "--no_images"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "200"}

    def run(*more: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*map(str, command), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=tmp_path,
            start_new_session=True,
        )

    return run


def records_of(folder: Path) -> dict[str, dict]:
    """The records by file name; a file that is no whole record fails the test here."""
    return {path.name: json.loads(path.read_text()) for path in folder.glob("out/records/*.json")}


def rows(folder: Path) -> list[tuple[str, str, float | None]]:
    records = records_of(folder).values()
    means = ((record["means"].get("psnr_db") or {"mean": None})["mean"] for record in records)
    return sorted(
        (record["model"]["label"], record["state"], mean) for record, mean in zip(records, means, strict=True)
    )


def end(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=600)
    # Two of the four cannot run.
    assert process.returncode == 1, output
    return output


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_killed_at_any_moment_the_same_command_goes_on(start, tmp_path: Path, jobs: str):
    # As soon as its folder is there, and at each further record: the moments that could lose something.
    for count in range(4):
        process = start("--jobs", jobs)
        while not ((tmp_path / "out").exists() and len(records_of(tmp_path)) >= count) and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for record in records_of(tmp_path).values():
            assert record["status"] in ("complete", "failed")
    before = {name: record["started_at"] for name, record in records_of(tmp_path).items() if record["state"] == "ran"}
    output = end(start("--jobs", jobs))
    assert output.count("on record: ") >= len(before)
    after = records_of(tmp_path)
    # What was done stays as it was, and each of the four is there once.
    assert {name: after[name]["started_at"] for name in before} == before
    labels = [label for label, _, _ in rows(tmp_path)]
    assert labels == ["checkout-00_Plain_baseline", "checkout-05_OwnForward", "checkout-06", "checkout-08_Imports"]


def test_two_commands_on_one_folder_agree(start, tmp_path: Path):
    both = [start(), start("--jobs", "2")]
    for process in both:
        end(process)
    found = rows(tmp_path)
    assert len(found) == 4
    assert [state for _, state, _ in found] == ["ran", "ran", "failed to build", "missing dependency"]
    assert not list(tmp_path.glob("out/records/*partial*"))


def test_redo_replaces_and_changed_code_is_run_again(start, tmp_path: Path):
    end(start())
    first = records_of(tmp_path)
    end(start("--redo"))
    second = records_of(tmp_path)
    assert first.keys() == second.keys()
    assert all(second[name]["started_at"] > first[name]["started_at"] for name in first)
    plain = tmp_path / "checkout" / "models" / "team00_plain.py"
    plain.write_text(plain.read_text() + "\n# changed\n")
    output = end(start())
    assert "on record: checkout-00_Plain_baseline" not in output
    # The entry that withholds its model imports nothing.
    assert "on record: checkout-06" in output
