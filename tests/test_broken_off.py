"""Runs that end in the middle, as a user's do: ctrl-C beside working threads, a disk that takes no more."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval.images import read_image, write_png
from tests.conftest import PROJECT

resource = pytest.importorskip("resource", reason="limits and signals are POSIX")
COUNT = 24
IMAGES = Path("results") / "Bicubic" / "photos"


def start(folder: Path, **options) -> subprocess.Popen:
    """Start an untimed pass over a folder's photos, with SR images and SSIM: everything that overlaps."""
    arguments = ("--models", "-1", "--data_dir", "photos", "--protocol", "accuracy", "--ssim", "--workers", "3")
    command = [sys.executable, "-m", "eval", "run", *arguments, "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "COLUMNS": "200"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes, **options)


def the_record(folder: Path) -> dict:
    (path,) = (folder / "results" / "records").glob("*.json")
    return json.loads(path.read_text())


@pytest.fixture
def photos(tmp_path: Path, random_image) -> Path:
    for number in range(COUNT):
        write_png(tmp_path / "photos" / f"{number:02}.png", random_image(800, 800, number))
    return tmp_path


def test_ctrl_c_beside_working_threads_keeps_what_is_finished(photos: Path):
    process = start(photos)
    deadline = time.monotonic() + 120
    while len(list((photos / IMAGES).glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    record = the_record(photos)
    finished = [image["name"] for image in record["images"]]
    assert record["status"] == "interrupted"
    assert record["reason"] == f"interrupted after {len(finished)} of {COUNT} images"
    assert 3 <= len(finished) < COUNT
    assert finished == [f"{number:02}" for number in range(len(finished))]
    # Every image that is on disk is whole, and on record: none was written after the others were given up.
    assert sorted(path.stem for path in (photos / IMAGES).iterdir()) == finished
    for name in finished:
        assert read_image(photos / IMAGES / f"{name}.png").shape == (800, 800, 3)


def test_the_same_command_after_ctrl_c_finishes_the_rest(photos: Path):
    process = start(photos)
    while not (photos / IMAGES).is_dir():
        time.sleep(0.005)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    again = start(photos)
    _, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    record = the_record(photos)
    assert record["status"] == "complete"
    assert len(record["images"]) == COUNT


def test_a_full_disk_ends_the_run_by_name_and_leaves_no_half_file(photos: Path):
    # The kernel refuses more bytes to a file than this, as a full disk does: records fit, SR images do not.
    limit = 2**18
    process = start(photos, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    record = the_record(photos)
    assert (record["status"], record["state"], record["images"]) == ("failed", "failed to run", [])
    assert record["reason"].startswith("at image 00: [Errno 27] File too large")
    assert record["reason"].endswith("/Bicubic/photos/00.png'")
    assert list((photos / IMAGES).iterdir()) == []
