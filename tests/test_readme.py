"""Every command and line of Python of the README runs, in a copy of the project; flags that docs show exist."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from docs.reference import commands
from tests.conftest import PROJECT

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "results", "__pycache__", ".*_cache", "*.part")
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


COMMANDS = [
    line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.startswith("python")
]
MINUTES = ("Urban100", "--tile 128", "table1", "bench.", "eval compare", "eval report", "eval score", "eval factsheet")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in which commands may write."""
    return Path(shutil.copytree(PROJECT, tmp_path_factory.mktemp("readme") / "project", ignore=LEFT_OUT))


def _parameters() -> list:
    return [
        pytest.param(line, marks=pytest.mark.slow if any(word in line for word in MINUTES) else ()) for line in COMMANDS
    ]


def _environment(copy: Path) -> dict[str, str]:
    """Put this interpreter first, as an activated environment would."""
    links = copy / ".bin"
    links.mkdir(exist_ok=True)
    python = links / "python"
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    return os.environ | {"PATH": f"{links}{os.pathsep}{os.environ['PATH']}"}


def run_in_group(line: str, folder: Path, environment: dict, limit_s: float) -> subprocess.CompletedProcess[str]:
    """Run a line of shell; when its time is over, or by ctrl-C, all that it has started ends with it."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, shell=True, cwd=folder, env=environment, start_new_session=True, **pipes) as shell:
        try:
            said = shell.communicate(timeout=limit_s)
        except BaseException:
            os.killpg(shell.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(line, shell.returncode, *said)


@pytest.mark.skipif(sys.platform == "win32", reason="needs groups of processes")
def test_a_command_whose_time_is_over_leaves_nothing_running(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    line = "(echo begun; exec sleep 600) >fifo 2>&1 & wait"
    with open(reader, encoding="utf-8") as fifo:
        with pytest.raises(subprocess.TimeoutExpired):
            run_in_group(line, tmp_path, dict(os.environ), 2)
        assert fifo.readline() == "begun\n"
        # What still runs holds the other end open, and there is nothing to read.
        assert select.select([fifo], [], [], 10)[0] == [fifo]


def test_the_readme_shows_commands():
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("line", _parameters())
def test_command_runs(line: str, copy: Path, request: pytest.FixtureRequest):
    if re.search(r"ESR_DATA|table1|--datasets? (?!sample\b)", line):
        request.getfixturevalue("esr_data")
        request.getfixturevalue("esr_weights")
    reads_records = any(word in line for word in ("eval report", "eval score", "eval factsheet"))
    records = (copy / "results" / "records").glob("*steady*" if "eval score" in line else "*")
    if reads_records and not any("incomplete" not in path.name for path in records):
        pytest.skip("shows what the slow command before it measured")
    result = run_in_group(line, copy, _environment(copy), 1200)
    if "every runtime sample was disturbed" in result.stdout + result.stderr:
        pytest.skip("this machine does other work, so that nothing could be timed")
    assert result.returncode == 0, result.stderr


def test_the_lines_of_python_run(copy: Path):
    (block,) = blocks("python")
    result = subprocess.run([sys.executable, "-c", block], cwd=copy, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    psnr_db, table = result.stdout.split("\n", 1)
    assert 25 < float(psnr_db) < 30
    assert table.count("03_PFDNLite") == 5


PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if not target.startswith("http")]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def shown_commands(text: str) -> list[list[str]]:
    """Return the words of each command in code blocks, fenced or indented."""
    lines = re.findall(
        r"^(?: {4})?(python (?:-m (?:eval|team_bsr)|test_demo\.py)\b.*)", text.replace("\\\n", " "), re.M
    )
    return [line.split("  #")[0].split() for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_shown_have_flags_that_exist(page: Path):
    known = commands()
    for words in shown_commands(page.read_text(encoding="utf-8")):
        name = next((" ".join(words[:n]) for n in (5, 4, 2) if " ".join(words[:n]) in known), None)
        assert name, " ".join(words)
        flags = {flag for its in known[name].params for flag in (*its.opts, *its.secondary_opts)} | {"--help"}
        typed = {word.partition("=")[0] for word in words if re.match(r"--\w", word)}
        assert typed <= flags, " ".join(words)


def test_it_holds_what_a_visitor_needs_in_165_lines():
    assert README.count("\n") <= 165
    order = ["strip.png", "make demo", "| **PFDNLite**", "```python", "--model_file", "eval check", "report-page.png"]
    places = [README.index(each) for each in order]
    assert places == sorted(places)


def test_badges_say_what_the_project_declares():
    badges = (PROJECT / "docs" / "results" / "badges.svg").read_text(encoding="utf-8")
    declared = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    ((least, below),) = re.findall(r'requires-python = ">=([\d.]+),<3\.(\d+)"', declared)
    python = f"{least}-3.{int(below) - 1}"
    (torch,) = re.findall(r"^torch==(\S+)", (PROJECT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    (licence,) = re.findall(r'^license = "(\w+)"', declared, re.M)
    assert all(f">{text}</text>" in badges for text in (python, torch, licence))
