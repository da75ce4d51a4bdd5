"""Plant one-line faults into the modules that make figures, and see whether the tests of each module notice.

    python -m bench.mutants                  # a sample of each module's faults, in under half an hour on two cores
    python -m bench.mutants key scoring      # only these

A fault changes one comparison, operator, constant, condition or call, or leaves out an operand, an argument or an
entry. A fault that no test notices has survived; it is listed with its line. Those that cannot change a result are
named in mutants.toml with the reason, and do not count.
"""

import ast
import copy
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from eval.cli.program import run_program
from eval.errors import RunError
from eval.files import PROJECT

ROWS = Path(__file__).with_suffix(".toml")
_COPIED = ("eval", "models", "model_zoo", "team_bsr", "tests", "bench", "test_demo.py", "pyproject.toml", "docs")
# Loaded once, before tests run in forks of this process.
_HEAVY = "torch numpy cv2 scipy.signal pydantic typer rich skimage.metrics pytest fvcore.nn".split()
_SLOWER = 6
_LEAST_S = 20
_SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One fault: the module's text with it, the line, and what it is, as in ``mean: a < b -> a <= b``."""

    text: str
    line: int
    what: str


def mutants_of(source: str) -> list[Mutant]:
    """Return every one-line fault of a module, in the order of its text."""
    tree = ast.parse(source)
    found = []
    for path, within, node in _places(tree):
        for changed in (*_changes(node), *_dropped(node)):
            mutated = copy.deepcopy(tree)
            _put(mutated, path, changed)
            what = f"{within}: {_short(node)} -> {_short(changed)}"
            found.append(Mutant(ast.unparse(ast.fix_missing_locations(mutated)), node.lineno, what))
    return found


def _places(node: ast.AST, path: tuple = (), within: str = "module") -> Iterator[tuple[tuple, str, ast.AST]]:
    """Yield every node that runs, with the way to it and the function or class that holds it.

    Annotations, docstrings, imports and the messages of errors are left out.
    """
    within = getattr(node, "name", within) if isinstance(node, ast.FunctionDef | ast.ClassDef) else within
    if hasattr(node, "lineno"):
        yield path, within, node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or (isinstance(node, ast.Raise)):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            spared = isinstance(node, ast.Call) and isinstance(child, ast.keyword) and _is_spared(node.func, child)
            if isinstance(child, ast.AST) and not _is_text(child) and not spared:
                yield from _places(child, (*path, (name, index)), within)


def _is_text(node: ast.AST) -> bool:
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_docstring or isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom))


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in _SWAPPED:
            yield ast.Compare(node.left, [_SWAPPED[type(op)]()], node.comparators)
        case ast.BoolOp(op=op):
            yield ast.BoolOp(_SWAPPED[type(op)](), node.values)
        case ast.BinOp(op=op) if type(op) in _SWAPPED and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            yield ast.BinOp(node.left, _SWAPPED[type(op)](), node.right)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.IfExp():
            yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.If(test=ast.Name() | ast.Call() | ast.Attribute()):
            yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()


def _dropped(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node without one of its parts: an operand of and/or, a keyword argument, an entry, an item."""
    match node:
        case ast.BoolOp(op=op, values=values):
            for rest in _each_left_out(values):
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.Call(func=function, args=given, keywords=keywords):
            kept = [each for each in keywords if _is_spared(function, each)]
            planted = [each for each in keywords if each not in kept]
            yield from (ast.Call(function, given, rest + kept) for rest in _each_left_out(planted))
        case ast.Dict(keys=keys, values=values):
            for rest in _each_left_out(list(zip(keys, values, strict=True))):
                yield ast.Dict([key for key, _ in rest], [value for _, value in rest])
        case ast.Tuple(elts=items, ctx=ast.Load()) if len(items) > 1:
            yield from (ast.Tuple(rest, ast.Load()) for rest in _each_left_out(items))
        case ast.Set(elts=items) if len(items) > 1:
            yield from (ast.Set(rest) for rest in _each_left_out(items))


def _is_spared(function: ast.AST, argument: ast.keyword) -> bool:
    """Tell what changes no figure: words for a person, and zip's check of lengths that are equal as the code stands."""
    return argument.arg == "description" or (argument.arg == "strict" and getattr(function, "id", "") == "zip")


def _each_left_out(parts: list) -> Iterator[list]:
    return (parts[:place] + parts[place + 1 :] for place in range(len(parts)))


def _put(tree: ast.AST, path: tuple, new: ast.AST) -> None:
    *way, (name, index) = path
    for step, place in way:
        tree = getattr(tree, step) if place is None else getattr(tree, step)[place]
    if index is None:
        setattr(tree, name, new)
    else:
        getattr(tree, name)[index] = new


def _short(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).splitlines()[0]
    return text if len(text) <= 70 else f"{text[:70]}..."


def survives(folder: Path, module: str, text: str, tests: list[str], limit_s: float) -> bool:
    """Tell whether the tests pass with a module's text replaced; they run in a fork that has the libraries loaded."""
    (folder / module).write_text(text, encoding="utf-8")
    child = os.fork()
    if child == 0:
        _run_tests(folder, tests)
    deadline = time.monotonic() + limit_s
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.02)
    return ended[1] == 0


def _run_tests(folder: Path, tests: list[str]) -> None:
    """Run tests in this fork, quietly, and end it with 0 if all passed."""
    os.setsid()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(folder)
    sys.path[:] = [str(folder), *(place for place in sys.path if place not in ("", str(PROJECT)))]
    for name in [name for name in sys.modules if name.split(".")[0] in _COPIED]:
        del sys.modules[name]
    sys.dont_write_bytecode = True
    import pytest

    try:
        os._exit(int(pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests])))
    except BaseException:
        os._exit(1)


def judge(name: str, row: dict, most: int, folder: Path) -> tuple[int, list[str]]:
    """Return how many faults of a row's module were planted, and those that survived and are not known as harmless.

    At most ``most`` are planted, in a copy of the project in ``folder``.

    Raises:
        RunError: its tests do not pass as it is.
    """
    for part in _COPIED:
        place = PROJECT / part
        folder.mkdir(exist_ok=True)
        (shutil.copytree if place.is_dir() else shutil.copy)(place, folder / part)
    source = (PROJECT / row["module"]).read_text(encoding="utf-8")
    chosen = [its for its in mutants_of(source) if its.what not in row.get("equivalent", {})]
    random.Random(name).shuffle(chosen)
    started = time.monotonic()
    if not survives(folder, row["module"], source, row["tests"], 600):
        raise RunError(f"{name}: its tests fail without a fault: {' '.join(row['tests'])}")
    limit_s = max(_LEAST_S, _SLOWER * (time.monotonic() - started))
    left = [
        mutant.what for mutant in chosen[:most] if survives(folder, row["module"], mutant.text, row["tests"], limit_s)
    ]
    (folder / row["module"]).write_text(source, encoding="utf-8")
    return min(most, len(chosen)), left


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Rows of mutants.toml; all by default.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Faults a module, drawn alike each time.")] = 25,
) -> None:
    """Plant faults and list those that no test notices; exit code 1 if there are any."""
    rows = tomllib.loads(ROWS.read_text(encoding="utf-8"))
    for library in _HEAVY:
        __import__(library)
    total, survivors = 0, 0
    # Unlike a Pool's, its workers may have children, which tests start.
    pool = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork"))
    with tempfile.TemporaryDirectory() as scratch, pool:
        jobs = {name: pool.submit(judge, name, rows[name], most, Path(scratch) / name) for name in names or rows}
        for name, job in jobs.items():
            count, left = job.result()
            total, survivors = total + count, survivors + len(left)
            print(f"{name:14} {count - len(left)} of {count} noticed", *left, sep="\n    ", flush=True)
    print(f"all            {total - survivors} of {total} noticed, {1 - survivors / max(total, 1):.1%}")
    raise typer.Exit(bool(survivors))


if __name__ == "__main__":
    run_program(main)
