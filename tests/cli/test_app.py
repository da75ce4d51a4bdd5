"""The list of commands is read without importing one, and says of each what it says of itself."""

import subprocess
import sys

import pytest

from eval.cli.app import COMMANDS, app
from tests.conftest import PROJECT


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_a_command_says_of_itself(name: str, command):
    shown = command("-m", "eval", name, "--help").stdout
    assert "".join(COMMANDS[name][1].split()) in "".join(shown.split())


def test_listing_imports_nothing_heavy():
    heavy = "{'torch', 'cv2', 'numpy', 'pandas', 'plotly', 'matplotlib'}"
    code = (
        "import sys; sys.argv = ['eval', '--help']\nfrom eval.cli.app import app\n"
        f"try: app()\nexcept SystemExit: pass\nassert not {heavy} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert "make-lr" in done.stdout


def test_an_unknown_command_is_wrong_usage(command):
    done = command("-m", "eval", "scor")
    assert (done.returncode, "No such command" in done.stderr) == (2, True)
    assert app.info.cls is not None


def test_no_command_of_a_group_is_cut(command):
    shown = " ".join(command("-m", "eval", "fetch", "--help").stdout.split())
    assert "weights Download published weights, check their SHA-256, and keep them in the download cache." in shown
