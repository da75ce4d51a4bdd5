"""The list of commands is read without importing one, and says of each what it says of itself."""

import inspect
import subprocess
import sys

import typer

from eval.cli.app import COMMANDS, LazyGroup, app, summary_of
from tests.conftest import PROJECT


def test_the_list_says_what_a_command_says_of_itself():
    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    for name in COMMANDS:
        found = group.get_command(None, name)
        assert summary_of(name) == inspect.cleandoc(found.help).partition("\n")[0] != ""


def test_listing_imports_nothing_heavy():
    heavy = "{'torch', 'cv2', 'numpy', 'pandas', 'plotly', 'matplotlib'}"
    code = (
        "import sys; sys.argv = ['eval', '--help']\nfrom eval.cli.app import app\n"
        f"try: app()\nexcept SystemExit: pass\nassert not {heavy} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert "make-lr" in done.stdout


def test_an_unknown_command_is_wrong_usage(command):
    done = command("-m", "eval", "scor", code=2)
    assert "No such command" in done.stderr


def test_no_command_of_a_group_is_cut(command):
    shown = " ".join(command("-m", "eval", "fetch", "--help").stdout.split())
    assert "weights Download published weights, check their SHA-256, and keep them in the download cache." in shown
