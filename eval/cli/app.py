"""``python -m eval``: its commands. A command's module is imported when the command is called, not before."""

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import Any

import typer

from eval.cli.program import Group, new_app, single

# Name: module and function.
COMMANDS = {
    "models": "supplies:list_models",
    "fetch": "supplies:fetch_app",
    "data": "image_sets:show_data",
    "run": "running:run_models",
    "compare": "comparing:compare",
    "table1": "table1:table1",
    "report": "judging:report",
    "factsheet": "judging:factsheet",
    "score": "judging:score",
    "audit": "judging:audit",
    "doctor": "doctor:doctor",
    "make-lr": "supplies:make_lr",
    "new-team": "submitting:new_team",
    "check": "submitting:check",
    "profile": "profiling:profile_model",
    "pack": "packing:pack",
    "score-zip": "submitting:score_zip",
    "export": "exporting:export_model",
    "audit-data": "data_audit:audit_data",
    "new-edition": "organising:new_edition",
    "host": "organising:host",
}


@cache
def _functions_of(module: str) -> list[ast.FunctionDef]:
    """Return the functions of a module beside this one, which is parsed once."""
    tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text("utf-8"))
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


class LazyGroup(Group):
    """A group that knows its commands by name, and imports one to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name].split(":")
        found = getattr(importlib.import_module(f"eval.cli.{module}"), function)
        command = typer.main.get_command(found if isinstance(found, typer.Typer) else single(found))
        command.name = cmd_name
        return command

    def summary(self, ctx: Any, name: str) -> str:
        """Return the first line of a command's help, read from its source: to import it may take seconds."""
        module, function = COMMANDS[name].split(":")
        # A group of commands has its help from the function that is its callback.
        callback = f"{function}.callback()"
        for found in _functions_of(module):
            if found.name == function or callback in map(ast.unparse, found.decorator_list):
                return (ast.get_docstring(found) or "").partition("\n")[0]
        raise AssertionError(f"{module}.py: has no function {function}")


app = new_app(cls=LazyGroup)


@app.callback()
def describe() -> None:
    """Evaluate x4 super-resolution networks by the Efficient Super-Resolution challenge's rules."""
