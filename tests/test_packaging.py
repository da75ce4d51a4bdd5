"""What pyproject.toml declares, requirements.txt pins, and the code imports: the same packages."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from eval.cli import NEEDED
from tests.conftest import PROJECT

DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = DECLARED["optional-dependencies"]
ASKED = [Requirement(asked) for asked in (*DECLARED["dependencies"], *chain.from_iterable(EXTRAS.values()))]
FIRST_PARTY = {"eval", "models", "team_bsr", "test_demo", "bench"}


def test_every_dependency_has_one_version_and_every_version_is_of_a_dependency():
    pins = [line for line in (PROJECT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    versions = dict(re.fullmatch(r"([a-z0-9-]+)==([\w.]+)", pin).groups() for pin in pins)
    assert sorted(versions) == sorted(asked.name for asked in ASKED)
    # A user with a GPU has a torch of their own, so ranges are wider than one version; each holds that one.
    assert all(asked.specifier.contains(versions[asked.name]) for asked in ASKED)
    assert {asked.name: str(asked.specifier) for asked in ASKED if asked.specifier} == {
        "torch": ">=2.11",
        "numpy": ">=2",
        # From there on it takes Literal.
        "typer": ">=0.19",
    }


def _imported(paths: list[Path]) -> set[str]:
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
    # jinja2 brings markupsafe, and the two are one project.
    return found - set(sys.stdlib_module_names) - FIRST_PARTY - {"markupsafe"}


def test_what_the_code_imports_is_declared():
    folders = ("eval", "models", "team_bsr", "bench")
    # What submissions import is theirs to say.
    paths = [path for folder in folders for path in (PROJECT / folder).rglob("*.py") if "shims" not in path.parts]
    owners = packages_distributions()
    declared = {asked.name for asked in ASKED}
    here = {name for name in _imported([*paths, PROJECT / "test_demo.py"]) if name in owners}
    assert {name for name in here if declared.isdisjoint(owner.lower() for owner in owners[name])} == set()


@pytest.mark.parametrize("door", [["test_demo.py", "--model_id", "3"], ["-m", "eval", "models"], ["-m", "team_bsr"]])
def test_outside_of_its_environment_a_command_says_which_one_it_needs(door: list[str]):
    # -S leaves out what is installed, as the system's own Python does.
    done = subprocess.run([sys.executable, "-S", *door], cwd=PROJECT, capture_output=True, text=True)
    remedy = "activate the project's environment (. .venv/bin/activate), or make it first: make demo"
    assert (done.returncode, remedy in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


@pytest.mark.parametrize("door", [["test_demo.py"], ["-m", "eval", "score", "results"], ["-m", "team_bsr"]])
def test_an_environment_that_lacks_a_part_of_the_dependencies_is_told_which(door: list[str]):
    """As that of a notebook service, or one that is older than the last dependency."""
    module, *more = door if door[0] != "-m" else door[1:]
    run = f"run_{'path' if module.endswith('.py') else 'module'}({module!r}, run_name='__main__')"
    code = (
        f"import sys, runpy; sys.modules |= dict.fromkeys(['isal', 'yaml']); sys.argv = {[module, *more]}; runpy.{run}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, " lacks isal, yaml; activate" in done.stderr, "Traceback" in done.stderr) == (
        2,
        True,
        False,
    )


def test_what_every_command_looks_for_are_the_dependencies():
    owners = packages_distributions()
    looked_for = {owner.lower() for name in NEEDED for owner in owners[name]}
    assert looked_for == {Requirement(asked).name for asked in DECLARED["dependencies"]}


def test_training_without_its_extra_says_what_to_install():
    code = "import sys, runpy; sys.modules['accelerate'] = None; runpy.run_module('team_bsr', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert 'accelerate, which is not installed; in the project\'s folder: pip install -e ".[train]"' in done.stderr


def test_the_front_doors_need_no_extra():
    extras = sorted(name.replace("-", "_") for extra in EXTRAS.values() for name in extra)
    code = f"import sys; sys.modules |= dict.fromkeys({extras}); import test_demo, eval.__main__"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)
