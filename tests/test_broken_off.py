"""Runs that end in the middle, as a user's do: ctrl-C beside working threads, a disk that takes no more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.data.images import read_image, write_png
from tests.conftest import PROJECT

resource = pytest.importorskip("resource", reason="limits and signals are POSIX")
COUNT = 16
IMAGES = Path("results") / "Bicubic" / "photos"


def run(folder: Path, ctrl_c_after: str | None = None, **options) -> subprocess.CompletedProcess[str]:
    """Run an untimed pass over a folder's photos, with SR images and SSIM: everything that overlaps."""
    arguments = ("--models", "-1", "--data_dir", "photos", "--protocol", "accuracy", "--ssim", "--workers", "3")
    command = ["-m", "eval", "run", *arguments, "--device", "cpu"]
    if ctrl_c_after is not None:
        command = ["-m", "tests.signalled", "SIGINT", "eval.run.runner.write_png", ctrl_c_after, *command]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, text=True, capture_output=True, timeout=600, **options
    )


def the_record(folder: Path) -> dict:
    (path,) = (folder / "results" / "records").glob("*.json")
    return json.loads(path.read_text())


@pytest.fixture
def photos(tmp_path: Path, random_image) -> Path:
    for number in range(COUNT):
        write_png(tmp_path / "photos" / f"{number:02}.png", random_image(200, 200, number))
    return tmp_path


def test_ctrl_c_beside_working_threads_keeps_what_is_finished_and_the_same_command_does_the_rest(photos: Path):
    process = run(photos, ctrl_c_after="02.png")
    assert process.returncode == 130, process.stderr
    assert "Traceback" not in process.stderr
    record = the_record(photos)
    finished = [image["name"] for image in record["images"]]
    assert record["status"] == "interrupted"
    assert record["reason"] == f"interrupted after {len(finished)} of {COUNT} images"
    assert 3 <= len(finished) < COUNT
    assert finished == [f"{number:02}" for number in range(len(finished))]
    # Every image that is on disk is whole, and on record: none was written after the others were given up.
    assert sorted(path.stem for path in (photos / IMAGES).glob("*.png")) == finished
    for name in finished:
        assert read_image(photos / IMAGES / f"{name}.png").shape == (200, 200, 3)
    again = run(photos)
    assert again.returncode == 0, again.stderr
    record = the_record(photos)
    assert (record["status"], len(record["images"])) == ("complete", COUNT)


def test_a_full_disk_ends_the_run_by_name_and_leaves_no_half_file(photos: Path):
    # The kernel refuses more bytes to a file than this, as a full disk does: records fit, SR images do not.
    limit = 2**16
    process = run(photos, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert process.returncode == 1, process.stderr
    assert "Traceback" not in process.stderr
    record = the_record(photos)
    assert (record["status"], record["state"], record["images"]) == ("failed", "could not read or write", [])
    assert record["reason"].startswith("at image 00: [Errno 27] File too large")
    assert record["reason"].endswith("/Bicubic/photos/00.png'")
    assert list((photos / IMAGES).rglob("*")) == []
