"""The list of commands is read without importing one, and says of each what it says of itself."""

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from eval import files
from eval.cli.app import COMMANDS, LazyGroup, app
from eval.cli.program import errors_told, single
from eval.run.interrupts import ctrl_c_after_keeping
from tests.conftest import PROJECT


def test_the_list_says_what_a_command_says_of_itself():
    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    for name in COMMANDS:
        found = group.get_command(None, name)
        assert group.summary(None, name) == inspect.cleandoc(found.help).partition("\n")[0] != ""


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
    assert "weights Download released weights, check their SHA-256, and store them in the download cache." in shown


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("at_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
@pytest.mark.parametrize("program", [lambda end: end(), lambda end: single(end)()])
def test_sigterm_ends_a_command_as_ctrl_c_does(at_ctrl_c, program: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["program"])

    def end() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("it went on")
        finally:
            kept.append("what is finished")

    kept, before = [], signal.signal(signal.SIGINT, at_ctrl_c)
    try:
        with pytest.raises(SystemExit) as caught, errors_told():
            program(end)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (caught.value.code, kept) == (143, ["what is finished"])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_sigterm_waits_for_what_is_being_kept_and_stays_ignored_where_it_is():
    kept = []

    def keep() -> None:
        with ctrl_c_after_keeping(held=True):
            os.kill(os.getpid(), signal.SIGTERM)
            kept.append("a record")

    with pytest.raises(SystemExit) as caught, errors_told():
        keep()
    assert (caught.value.code, kept) == (143, ["a record"])
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with errors_told():
            os.kill(os.getpid(), signal.SIGTERM)
            kept.append("a second")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert kept == ["a record", "a second"]


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_a_command_that_ends_otherwise_keeps_its_code():
    for code in (0, 1, 130):
        with pytest.raises(SystemExit) as caught, errors_told():
            sys.exit(code)
        assert caught.value.code == code


def test_a_copy_of_the_code_alone_says_how_to_install_it(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    done = command("-m", "eval", "models", code=2)
    assert done.stderr == (
        f"error: {tmp_path}: holds a copy of the code without model_zoo/manifest.toml: the project runs from its own "
        "folder only. There: pip install -e .\n"
    )
