"""Workflow files are YAML, and the commands in them exist with their flags."""

import re
import shlex

import pytest
import yaml

from eval.cli.app import COMMANDS
from tests.conftest import PROJECT

FILES = [PROJECT / ".github" / "workflows" / "tests.yml", PROJECT / "docs" / "workflows" / "leaderboard.yml"]


def _steps(path) -> list[dict]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [step for job in content["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_every_step_does_one_thing(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    # YAML reads the key "on" as true.
    assert set(content[True]) <= {"push", "pull_request"}
    assert all(("uses" in step) != ("run" in step) for step in _steps(path))


def test_the_leaderboards_commands_exist_with_their_flags(command):
    lines = [line for step in _steps(FILES[1]) for line in step.get("run", "").splitlines()]
    asked = [shlex.split(line)[3:] for line in lines if line.startswith("python -m eval ")]
    assert [name for name, *_ in asked] == ["check", "run", "run", "score", "report"]
    for name, *arguments in asked:
        assert name in COMMANDS
        shown = command("-m", "eval", name, "--help").stdout
        flags = [argument for argument in arguments if argument.startswith("--")]
        assert flags
        assert [flag for flag in flags if not re.search(rf"{flag}\b", shown)] == []
