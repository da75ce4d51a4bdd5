"""Running a command-line program: errors that a user can mend are printed without a traceback."""

import inspect
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from eval.errors import RunError, UsageError
from eval.files import check_in_place, extras
from eval.words import written_lines

USAGE_EXIT, FAILURE_EXIT = 2, 1
_NEGATIVE = re.compile(r"-\d+")
_CTRL_C_EXIT, _SIGTERM_EXIT = 130, 143


def run_program(program: Callable[..., None] | typer.Typer) -> None:
    """Run a command or an app and exit.

    The code is 0 if all was done, 2 for wrong usage, 1 for a failed run, 130 for ctrl-C, 143 for SIGTERM.
    """
    app = program if isinstance(program, typer.Typer) else single(program)
    with errors_told():
        app()


@contextmanager
def errors_told() -> Iterator[None]:
    """End the process as ``run_program`` does, with what a user can mend said in a sentence and not as a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal, or the file it is sent to, cannot show is no reason to end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _sigterm_as_ctrl_c():
            check_in_place()
            yield
    except UsageError as error:
        _print(error)
        sys.exit(USAGE_EXIT)
    except (RunError, OSError) as error:
        _print(error)
        sys.exit(FAILURE_EXIT)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        extra = next((name for name, packages in extras().items() if package in packages), None)
        if extra is None:
            raise
        command = f'pip install -e ".[{extra}]"'
        _print(UsageError(f"this needs {package}, which is not installed; in the project's folder: {command}"))
        sys.exit(USAGE_EXIT)


def check_installed(*packages: str) -> None:
    """Refuse what needs packages of an extra that are not here, before anything is computed.

    Raises:
        ModuleNotFoundError: one of them is not; ``errors_told`` says how to install it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which batch systems and containers send, end a block as ctrl-C does, with an exit code of its own.

    Python hands signals to the main thread alone; elsewhere nothing changes, nor where something else is done at it.
    """
    process, is_main = os.getpid(), threading.current_thread() is threading.main_thread()
    came: list[int] = []
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            # A copy of this process, which whoever made it ends.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        came.append(number)
        at_ctrl_c = signal.getsignal(signal.SIGINT)
        # That may wait until what is finished is kept. A job in the background ignores ctrl-C, and shall end even so.
        (at_ctrl_c if callable(at_ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as ending:
        if came and getattr(ending, "code", _CTRL_C_EXIT) == _CTRL_C_EXIT:
            sys.exit(_SIGTERM_EXIT)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def single(command: Callable[..., None]) -> typer.Typer:
    """Return an app of one command."""
    app = new_app()
    app.command()(command)
    return app


class _Command(TyperCommand):
    """A command whose paths may begin with ~, from flags and from the environment: a shell expands few of them.

    What stands without a flag may be the id of a model, which may be negative.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take -1 for a value; other flags that are unknown are refused."""
        if any(map(_NEGATIVE.fullmatch, args)):
            self.make_parser(ctx).parse_args([arg[1:] if _NEGATIVE.fullmatch(arg) else arg for arg in args])
            ctx.ignore_unknown_options = True
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Call the command."""
        ctx.params = {name: _expanded(value) for name, value in ctx.params.items()}
        return super().invoke(ctx)


def _expanded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_expanded, value))
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))
    # Names of sets may begin with ~ as well.
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


class _App(typer.Typer):
    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """Register a command of the project's own kind."""
        return super().command(name, **{"cls": _Command, **settings})


class Group(TyperGroup):
    """A group whose list of commands is not cut: each with its whole first line of help."""

    def summary(self, ctx: Any, name: str) -> str:
        """Return the first line of a command's help."""
        return inspect.cleandoc(getattr(self.get_command(ctx, name), "help", None) or "").partition("\n")[0]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(ctx, name)) for name in self.list_commands(ctx)])


def new_app(cls: type[TyperGroup] = Group) -> typer.Typer:
    """Return an app with the project's settings, and a class of its own if asked for."""
    return _App(
        cls=cls, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=False
    )


def _print(error: Exception) -> None:
    Console(stderr=True, highlight=False).print(Text(written_lines(f"error: {error}"), style="red"), soft_wrap=True)
