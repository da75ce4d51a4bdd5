"""Every command of the README runs, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "results", "__pycache__", ".*_cache", "*.part")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
COMMANDS = [
    line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.startswith("python")
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


def test_the_readme_shows_commands():
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("line", _parameters())
def test_command_runs(line: str, copy: Path, request: pytest.FixtureRequest):
    if "$ESR_DATA" in line:
        request.getfixturevalue("esr_data")
        request.getfixturevalue("esr_weights")
    reads_records = any(word in line for word in ("eval report", "eval score", "eval factsheet"))
    if reads_records and not (copy / "results" / "records").exists():
        pytest.skip("shows what the slow command before it measured")
    result = subprocess.run(
        line, shell=True, cwd=copy, env=_environment(copy), capture_output=True, text=True, timeout=1200
    )
    assert result.returncode == 0, result.stderr


def test_links_and_pictures_exist():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if not target.startswith("http")]
    assert targets
    assert [target for target in targets if not (PROJECT / target).exists()] == []
