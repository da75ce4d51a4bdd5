"""Write docs/reference.md from the code: every command with its flags, and what notebooks import.

``python -m docs.reference``; a test says when it must be run again.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import eval as api
import team_bsr.cli
import test_demo
from eval.cli import app as eval_app
from eval.files import PROJECT

PAGE = Path(__file__).with_name("reference.md")
_INTRODUCTION = """# Reference: commands, flags, functions

Generated from the code by `python -m docs.reference`; `python -m eval COMMAND --help` prints the same texts. Replace
< > by a value of that type; a flag without < > takes no value. Environment variables that name folders: `ESR_DATA`
(image sets), `ESR_WEIGHTS` (weights), `ESR_CACHE` (downloads and compiled code). Exit codes: 0 success; 1 a run or a
check failed; 2 wrong usage; 130 ctrl-C; 143 SIGTERM."""


def commands() -> dict[str, Any]:
    """Return every command under what is typed to call it."""
    single = typer.Typer(add_completion=False)
    single.command()(test_demo.demo)
    found = {"python test_demo.py": typer.main.get_command(single)}
    for program, app in (("python -m eval", eval_app.app), ("python -m team_bsr", team_bsr.cli.app)):
        found |= dict(_leaves(program, typer.main.get_command(app)))
    return found


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    context = typer.Context(command)
    for each in command.list_commands(context):
        yield from _leaves(f"{name} {each}", command.get_command(context, each))


def page() -> str:
    """Return the page's text."""
    parts = [_INTRODUCTION]
    for name, command in commands().items():
        context = typer.Context(command)
        records = (its.get_help_record(context) for its in command.params if its.name != "help")
        flags = "\n".join(f"- `{flag}`: {_markdown(text)}" for flag, text in records)
        parts += [f"## {name}", inspect.cleandoc(command.help or ""), flags]
    parts += ["## Python", "From a notebook or a script: `from eval import " + ", ".join(api.__all__) + "`."]
    for name in api.__all__:
        parts += [f"### {name}", f"```python\n{_signature(name)}\n```", f"```\n{_docstring(getattr(api, name))}\n```"]
    return "\n\n".join(parts) + "\n"


def _signature(name: str) -> str:
    """Return how a function is called: names and defaults, for the text below tells types."""
    signature = inspect.signature(getattr(api, name))
    plain = [
        its.replace(annotation=its.empty, default=getattr(its.default, "value", its.default))
        for its in signature.parameters.values()
    ]
    return f"{name}{signature.replace(parameters=plain, return_annotation=signature.empty)}"


def _markdown(text: str) -> str:
    """Return a help text, whose code stands in backticks as in Markdown, for a page of Markdown."""
    return text.replace(f"{PROJECT}/", "").replace("<", "\\<")


def _docstring(member: object) -> str:
    return inspect.cleandoc(member.__doc__ or "")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
