"""Downloading image sets from a server on this machine: all files, those that are missing, and other bytes."""

import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import eval.data.fetch
from eval.cli.app import app
from eval.data.datasets import open_dataset
from eval.data.fetch import fetch_set, fetchable_sets, known_files, num_files
from eval.data.png import encode_png
from eval.errors import RunError, UsageError
from tests.served import Server, answering, serving

TIMEOUT_S = 300
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def picture(side: int, seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


FILES = {
    f"Tiny/image_SRF_4/{name}_{half}.png": picture(side, seed)
    for seed, name in enumerate(("a", "b"))
    for half, side in (("HR", 32), ("LR", 8))
}


def zipped(folder: str, side: int, tail: str, count: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(f"{folder}/{number:04}{tail}.png", picture(side, number))
    return file.getvalue()


def answer(handler: BaseHTTPRequestHandler) -> None:
    content = handler.server.files.get(handler.path.lstrip("/"))
    answering(content or b"", 404 if content is None else 200)(handler)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(eval.data.fetch, "known_files", lambda: {"Tiny": hashes})
    monkeypatch.setenv("ESR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ESR_DATA", raising=False)
    with serving(answer, monkeypatch) as started:
        started.files = dict(FILES)
        yield started


def test_a_set_is_fetched_once_and_found_without_a_folder(server: Server, tmp_path: Path):
    with pytest.raises(UsageError, match="or run: python -m eval fetch data Tiny"):
        open_dataset(None, "Tiny")
    for _ in range(2):
        result = CliRunner().invoke(app, ["fetch", "data", "Tiny", "--mirror", server.url.rstrip("/")])
        assert (result.exit_code, result.stdout) == (
            0,
            f"Tiny: 4 files, each with the SHA-256 that we know, in {tmp_path}/cache/data\n",
        )
    assert server.requests == list(FILES)
    dataset = open_dataset(None, "Tiny")
    assert (dataset.layout, [pair.name for pair in dataset.pairs]) == ("SelfExSR", ["a", "b"])
    assert {str(path.relative_to(tmp_path / "cache/data")) for path in tmp_path.rglob("*.png")} == set(FILES)


def test_it_goes_on_where_it_failed(server: Server, tmp_path: Path):
    *_, last = FILES
    del server.files[last]
    with pytest.raises(RunError, match=r"the download failed: 404.*\n.*address.*\nWhat came before is kept"):
        fetch_set("Tiny", tmp_path, server.url)
    server.files = dict(FILES)
    server.requests.clear()
    fetch_set("Tiny", tmp_path, server.url)
    assert server.requests == [last]


def test_two_at_once_both_succeed_by_one_download_of_each_file(server: Server, tmp_path: Path):
    asked, release = threading.Event(), threading.Event()
    first, *_ = FILES

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.lstrip("/") == first:
            asked.set()
            release.wait(TIMEOUT_S)
        answer(handler)

    server.answer = slowly
    with ThreadPoolExecutor() as pool:
        fetched = [pool.submit(fetch_set, "Tiny", tmp_path, server.url)]
        assert asked.wait(TIMEOUT_S)
        fetched.append(pool.submit(fetch_set, "Tiny", tmp_path, server.url))
        time.sleep(0.2)
        release.set()
        assert [its.result(TIMEOUT_S) for its in fetched] == ["4 files, each with the SHA-256 that we know"] * 2
    assert server.requests == list(FILES)


def test_one_failure_is_tried_again(server: Server, tmp_path: Path):
    first, *_ = FILES
    failing = iter([first])

    def at_first_not(handler: BaseHTTPRequestHandler) -> None:
        (answering(status=503) if handler.path.lstrip("/") == next(failing, None) else answer)(handler)

    server.answer = at_first_not
    fetch_set("Tiny", tmp_path, server.url)
    assert server.requests == [first, *FILES]


def test_what_a_killed_download_left_is_removed(server: Server, tmp_path: Path):
    first, *_ = FILES
    left = (tmp_path / first).parent / f".incoming-{hashlib.sha256(FILES[first]).hexdigest()}"
    left.mkdir(parents=True)
    (left / "half").write_bytes(FILES[first][:50])
    fetch_set("Tiny", tmp_path, server.url)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        *FILES,
        ".fetch.lock",
    }
    assert not left.exists()


def test_a_file_that_is_a_link_counts_as_there(server: Server, tmp_path: Path):
    first, *rest = FILES
    (tmp_path / "elsewhere.png").write_bytes(FILES[first])
    (tmp_path / "sets" / first).parent.mkdir(parents=True)
    (tmp_path / "sets" / first).symlink_to(tmp_path / "elsewhere.png")
    fetch_set("Tiny", tmp_path / "sets", server.url)
    assert server.requests == rest
    assert (tmp_path / "sets" / first).is_symlink()


def test_other_bytes_are_not_kept(server: Server, tmp_path: Path):
    first, *_ = FILES
    server.files[first] = b"another image"
    with pytest.raises(RunError, match=r"a_HR.png: the download failed: SHA256 hash"):
        fetch_set("Tiny", tmp_path, server.url)
    assert list(tmp_path.rglob("*.png")) == []


def test_archives_are_unpacked_and_counted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eval.data.fetch, "_DIV2K_IMAGES", 2)
    server.files["DIV2K_valid_HR.zip"] = zipped("DIV2K_valid_HR", 32, "", 2)
    server.files["DIV2K_valid_LR_bicubic_X4.zip"] = zipped("DIV2K_valid_LR_bicubic/X4", 8, "x4", 1)
    (tmp_path / ".archives").mkdir()
    (tmp_path / ".archives" / "notes.txt").write_text("the user's")
    with pytest.raises(RunError, match=r"holds 1 images in DIV2K_valid_LR_bicubic/X4, not 2"):
        fetch_set("DIV2K_valid", tmp_path, server.url.rstrip("/"))
    server.files["DIV2K_valid_LR_bicubic_X4.zip"] = zipped("DIV2K_valid_LR_bicubic/X4", 8, "x4", 2)
    fetch_set("DIV2K_valid", tmp_path, server.url)
    assert server.requests.count("DIV2K_valid_HR.zip") == 1
    assert open_dataset(tmp_path, "DIV2K_valid").layout == "DIV2K"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == [".archives", ".fetch.lock"]
    assert (tmp_path / ".archives" / "notes.txt").read_text() == "the user's"


def test_an_unknown_set_lists_what_there_is():
    assert fetchable_sets() == ["Set5", "Set14", "Urban100", "DIV2K_valid"]
    assert [num_files(name) for name in fetchable_sets()] == [10, 28, 200, 2]
    result = CliRunner().invoke(app, ["fetch", "data", "Set6"])
    assert "no such set; there are: Set5, Set14, Urban100, DIV2K_valid" in str(result.exception)


def test_the_hashes_are_those_of_the_sets(esr_data: Path):
    for file, sha256 in known_files()["Set5"].items():
        assert hashlib.sha256((esr_data / file).read_bytes()).hexdigest() == sha256


def test_an_image_that_was_cut_off_is_fetched_again(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(eval.data.fetch, "_DIV2K_IMAGES", 2)
    whole, last = zipped("DIV2K_valid_HR", 32, "", 2), picture(32, 1)
    at = whole.rindex(last) + len(last) // 2
    server.files["DIV2K_valid_HR.zip"] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    server.files["DIV2K_valid_LR_bicubic_X4.zip"] = zipped("DIV2K_valid_LR_bicubic/X4", 8, "x4", 2)
    with pytest.raises(RunError, match="is no whole zip archive"):
        fetch_set("DIV2K_valid", tmp_path, server.url)
    assert not (tmp_path / "DIV2K_valid_HR").exists()
    server.files["DIV2K_valid_HR.zip"] = whole
    fetch_set("DIV2K_valid", tmp_path, server.url)
    assert (tmp_path / "DIV2K_valid_HR" / "0001.png").read_bytes() == last
