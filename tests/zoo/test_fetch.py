"""Downloading weights from a server on this machine: the good file, every failure, and a download that is killed."""

import gc
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import eval.zoo.checkpoints
import eval.zoo.fetch
from eval.errors import RunError
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.fetch import fetch_checkpoint
from eval.zoo.manifest import CheckpointSpec
from tests.conftest import PROJECT
from tests.refusals import said
from tests.served import Answer, Server, answering, serving
from tests.tasks import tiny_spec

CONTENT = bytes(range(256)) * 1024
FILE = "tiny.pth"
LEFT_BEHIND = {".fetch.lock", FILE}
TIMEOUT_S = 300
FETCH = """
import json, sys
from pathlib import Path
from eval.zoo.fetch import fetch_checkpoint
from eval.zoo.manifest import CheckpointSpec
print("ready", flush=True)
sys.stdin.readline()
print(fetch_checkpoint(CheckpointSpec(**json.loads(sys.argv[1])), Path(sys.argv[2]), progress=False))
"""

# requests leaves the socket of a failed download to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def _collect_sockets() -> Iterator[None]:
    """Collect what a test left behind while the warning is still ignored."""
    yield
    gc.collect()


LENGTH = {"Content-Length": str(len(CONTENT))}
whole, without_length, other_bytes = answering(CONTENT), answering(CONTENT, headers={}), answering(CONTENT[::-1])
cut_short, cut_short_without_length = (answering(CONTENT[:5000], headers=its) for its in (LENGTH, {}))
not_found, unavailable = answering(status=404), answering(status=503)
redirect = answering(status=302, headers={"Location": "/moved", "Content-Length": "0"})


def start(handler: BaseHTTPRequestHandler) -> None:
    answering(headers=LENGTH)(handler)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Gives its answers in turn, the last one for ever."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        its = handler.server
        its.answers[min(len(its.requests), len(its.answers)) - 1](handler)

    with serving(answer, monkeypatch) as running:
        running.url += f"weights/{FILE}"
        running.answers = [whole]
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "not" / "yet" / "there"


def known(url: str | None) -> CheckpointSpec:
    return CheckpointSpec(
        name="released", file=FILE, sha256=hashlib.sha256(CONTENT).hexdigest(), bytes=len(CONTENT), url=url
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def refusal(spec: CheckpointSpec, folder: Path) -> str:
    """Fetch in vain, compare what every such message must hold, and return the reason."""
    first, *rest = said(RunError, fetch_checkpoint, spec, folder, progress=False).splitlines()
    assert rest == [
        f"  address   {spec.url}",
        f"  SHA-256   {spec.sha256} (262,144 bytes)",
        f"To do it by hand: download that file and put it at {eval.zoo.fetch.MODEL_ZOO / FILE}",
    ]
    start = f"{FILE}: the download failed: "
    assert first.startswith(start)
    return first.removeprefix(start)


@pytest.mark.parametrize("answer", [whole, without_length])
def test_a_good_file(server: Server, folder: Path, answer: Answer):
    server.answers = [answer]
    path = fetch_checkpoint(known(server.url), folder, progress=False)
    assert path == folder / FILE
    assert path.read_bytes() == CONTENT
    assert server.requests == [f"weights/{FILE}"]
    assert names(folder) == LEFT_BEHIND


def test_redirects_are_followed(server: Server, folder: Path):
    server.answers = [redirect, whole]
    assert fetch_checkpoint(known(server.url), folder, progress=False).read_bytes() == CONTENT
    assert server.requests == [f"weights/{FILE}", "moved"]


def test_progress_is_shown_on_request_only(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]):
    fetch_checkpoint(known(server.url), folder, progress=False)
    assert capfd.readouterr() == ("", "")
    (folder / FILE).unlink()
    fetch_checkpoint(known(server.url), folder)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err


def test_a_file_that_is_there_is_not_requested(server: Server, folder: Path):
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(CONTENT)
    assert fetch_checkpoint(known(server.url), folder, progress=False) == folder / FILE
    assert fetch_checkpoint(known(None), folder, progress=False) == folder / FILE
    assert server.requests == []


@pytest.mark.parametrize("old", [b"", CONTENT[:-1], b"another file"])
def test_a_damaged_file_is_replaced(server: Server, folder: Path, old: bytes):
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(old)
    fetch_checkpoint(known(server.url), folder, progress=False)
    assert (folder / FILE).read_bytes() == CONTENT
    assert names(folder) == LEFT_BEHIND


def test_into_the_download_cache_where_it_is_then_found(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ESR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ESR_WEIGHTS", raising=False)
    monkeypatch.setattr(eval.zoo.checkpoints, "MODEL_ZOO", tmp_path / "zoo")
    spec = tiny_spec(checkpoints=(known(server.url),))
    assert fetch_checkpoint(known(server.url), progress=False) == tmp_path / "cache" / FILE
    assert find_checkpoint(spec).path == tmp_path / "cache" / FILE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (other_bytes, "hash"),
        (cut_short, "IncompleteRead"),
        (cut_short_without_length, "hash"),
        (not_found, "404"),
        (unavailable, "503"),
    ],
)
def test_a_failure_leaves_what_was_there(server: Server, folder: Path, answer: Answer, reason: str):
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(b"old")
    server.answers = [answer]
    assert reason in refusal(known(server.url), folder)
    assert (folder / FILE).read_bytes() == b"old"
    assert names(folder) == LEFT_BEHIND
    assert len(server.requests) == 2


def test_a_hidden_folder_of_the_users_stays(server: Server, tmp_path: Path):
    (tmp_path / ".incoming").mkdir()
    (tmp_path / ".incoming" / "notes.txt").write_text("mine")
    fetch_checkpoint(known(server.url), tmp_path, progress=False)
    assert (tmp_path / ".incoming" / "notes.txt").read_text() == "mine"
    assert names(tmp_path) == LEFT_BEHIND | {".incoming"}


@pytest.mark.parametrize("first", [cut_short, other_bytes])
def test_one_failure_is_tried_again(server: Server, folder: Path, first: Answer):
    server.answers = [first, whole]
    assert fetch_checkpoint(known(server.url), folder, progress=False).read_bytes() == CONTENT
    assert len(server.requests) == 2
    assert names(folder) == LEFT_BEHIND


def test_offline(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/{FILE}"
        assert "refused" in refusal(known(url), folder)
    assert names(folder) == {".fetch.lock"}


def test_without_an_address(folder: Path):
    with pytest.raises(RunError, match=f"{FILE}: has no public address"):
        fetch_checkpoint(known(None), folder, progress=False)
    assert names(folder) == {".fetch.lock"}


@pytest.fixture
def fetching() -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    """Start processes that fetch once a line is written to them, and end those that still run."""
    started: list[subprocess.Popen[str]] = []

    def run(url: str, folder: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", FETCH, json.dumps(known(url).model_dump()), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()


def test_a_killed_download_leaves_no_file_and_the_next_one_succeeds(server: Server, folder: Path, fetching):
    half_sent, release = threading.Event(), threading.Event()

    def half(handler: BaseHTTPRequestHandler) -> None:
        start(handler)
        handler.wfile.write(CONTENT[: len(CONTENT) // 2])
        half_sent.set()
        release.wait(TIMEOUT_S)

    server.answers = [half, whole]
    process = fetching(server.url, folder)
    begin(process)
    assert half_sent.wait(TIMEOUT_S)
    process.kill()
    assert process.wait(TIMEOUT_S) == -9
    release.set()
    incoming = f".incoming-{known(server.url).sha256}"
    assert names(folder) == {".fetch.lock", incoming}
    assert names(folder / incoming) != set()
    assert FILE not in names(folder / incoming)

    assert fetch_checkpoint(known(server.url), folder, progress=False).read_bytes() == CONTENT
    assert names(folder) == LEFT_BEHIND
    assert len(server.requests) == 2


def test_two_processes_at_once_both_succeed_by_one_download(server: Server, folder: Path, fetching):
    asked, release = threading.Event(), threading.Event()

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        start(handler)
        handler.wfile.write(CONTENT[:1000])
        asked.set()
        release.wait(TIMEOUT_S)
        handler.wfile.write(CONTENT[1000:])

    server.answers = [slowly]
    processes = [fetching(server.url, folder) for _ in range(2)]
    for process in processes:
        begin(process)
    assert asked.wait(TIMEOUT_S)
    release.set()
    for process in processes:
        out, error = process.communicate(timeout=TIMEOUT_S)
        assert (out, error, process.returncode) == (f"{folder / FILE}\n", "", 0)
    assert (folder / FILE).read_bytes() == CONTENT
    assert names(folder) == LEFT_BEHIND
    assert len(server.requests) == 1
