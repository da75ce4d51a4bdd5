"""The entries of an official checkout, found by reading ``test_demo.py`` and never by running it."""

import ast
import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from eval.errors import UsageError, one_reason
from eval.expressions import dotted, is_composed, value_of
from eval.files import why_unfit
from eval.sources import hash_of_sources, imported_modules
from eval.third_party.entries import MODEL_ZOO, Checkout, Entry
from eval.words import printable

DEMO = "test_demo.py"
SELECT = "select_model"
_MAX_SOURCE_BYTES = 4 * 2**20
_MOST_MOVES = 3
# No edition's are larger; Python does not print those of thousands of digits.
_IDS = range(-(10**6), 10**6)
# What Python raises for valid code that is nested too deep, or has too long numbers, to be written or converted.
_UNREADABLE = (RecursionError, ValueError, OverflowError)
# What spells a text out, other than by a name.
_SPELT = (ast.Constant, ast.JoinedStr, ast.BinOp, ast.Call)


def read_checkout(path: Path) -> Checkout:
    """Find the entries of a checkout, by id.

    Raises:
        UsageError: the folder holds no test_demo.py with a select_model that chooses by ``model_id``.
    """
    demo = path / DEMO
    if not demo.is_file():
        raise UsageError(f"--checkout {path}: expected the challenge's repository, with {DEMO} and models/ in it")
    if unfit := why_unfit(demo, path):
        raise UsageError(f"--checkout {path}: {DEMO} {unfit}")
    tree = _parsed(demo)
    select, moved_to = _select_function(path, tree)
    branches = dict(_branches(select))
    if not branches:
        raise UsageError(f"--checkout {path}: {DEMO} has no function {SELECT} that chooses by model_id")
    year = re.search(r"NTIRE(20\d\d)", demo.read_text(encoding="utf-8", errors="replace"))
    origin = year.group(0) if year else _plain(path.resolve().name)
    forwards = dict(_forwards(_function(tree, "run")))
    entries = [_entry(path, origin, model_id, body, moved_to) for model_id, body in sorted(branches.items())]
    entries = [replace(entry, forward=forwards.get(entry.id)) for entry in entries]
    return Checkout(path.resolve(), origin, tuple(_apart(entries)), _counts_with_hooks(tree))


def source_of(path: Path, model_id: int) -> str | None:
    """Return the hash of an entry's source as the checkout's files are now; None if it has no such entry.

    Raises:
        OSError, UsageError: test_demo.py cannot be read.
    """
    select, moved_to = _select_function(path, _parsed(path / DEMO))
    body = dict(_branches(select)).get(model_id)
    return None if body is None else _entry(path, "", model_id, body, moved_to).source_sha256


def _parsed(demo: Path) -> ast.Module:
    if demo.stat().st_size > _MAX_SOURCE_BYTES:
        raise UsageError(f"{demo}: larger than {_MAX_SOURCE_BYTES:,} bytes; this is no test_demo.py of the challenge")
    try:
        return ast.parse(demo.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{demo}: cannot be read as Python: {one_reason(error)}") from error


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def _select_function(path: Path, tree: ast.Module) -> tuple[ast.FunctionDef | None, list[str]]:
    """Return ``select_model``, of this file or of one that it is imported from, and the modules of those files."""
    moved_to: list[str] = []
    while (select := _function(tree, SELECT)) is None and len(moved_to) < _MOST_MOVES:
        imports = (node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module)
        module = next((str(node.module) for node in imports if any(its.name == SELECT for its in node.names)), "")
        parts = path.joinpath(*module.split("."))
        found = [file for file in (parts.with_suffix(".py"), parts / "__init__.py") if module and file.is_file()]
        if not found:
            break
        tree = _parsed(found[0])
        moved_to.append(module)
    return select, moved_to


def _branches(function: ast.FunctionDef | None) -> Iterator[tuple[int, list[ast.stmt]]]:
    """Yield the bodies of all ``if model_id == N`` of a function, wherever they stand."""
    for node in ast.walk(function) if function else ():
        if isinstance(node, ast.If):
            yield from ((model_id, node.body) for model_id in _ids(node.test))


def _ids(test: ast.expr) -> list[int]:
    """Return the ids that a condition on ``model_id`` lets pass; none for any other condition."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return []
    if dotted(test.left).removeprefix("args.") != "model_id":
        return []
    (right,) = test.comparators
    if isinstance(test.ops[0], ast.Eq):
        values = [value_of(right, {})]
    elif isinstance(test.ops[0], ast.In) and isinstance(right, ast.List | ast.Tuple | ast.Set):
        values = [value_of(item, {}) for item in right.elts]
    else:
        return []
    return [value for value in values if type(value) is int and value in _IDS]


def _forwards(run: ast.FunctionDef | None) -> Iterator[tuple[int, str]]:
    """Yield the ids for which ``run`` calls a forward function of their own, with its name."""
    for model_id, body in _branches(run):
        for call in ast.walk(ast.Module(body, [])):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and "forward" in call.func.id:
                yield model_id, call.func.id


def _entry(path: Path, origin: str, model_id: int, body: Sequence[ast.stmt], moved_to: Sequence[str]) -> Entry:
    """Return an entry; one whose branch cannot be read says so, and keeps no other from being read."""
    try:
        return _read_entry(path, origin, model_id, body, moved_to)
    except _UNREADABLE as error:
        fault = f"its branch of {SELECT} cannot be read: {one_reason(error)}"
        return replace(_read_entry(path, origin, model_id, [], moved_to), is_placeholder=False, fault=fault)


def _read_entry(path: Path, origin: str, model_id: int, body: Sequence[ast.stmt], moved_to: Sequence[str]) -> Entry:
    known: dict[str, object] = {"model_id": model_id}
    weights: dict[str, None] = {}
    for statement in body:
        if isinstance(statement, ast.Assign):
            known |= _assigned(statement, known)
        weights |= dict.fromkeys(_files(statement, known))
    name = printable(" ".join(str(known.get("name") or f"{model_id:02}").split()))[:80]
    data_range = known.get("data_range")
    modules, branch = [*imported_modules(body, known), *moved_to], "\n".join(map(ast.unparse, body))
    return Entry(
        id=model_id,
        name=name,
        label=f"{origin.removeprefix('NTIRE')}-{_plain(name)}",
        data_range=float(data_range) if isinstance(data_range, int | float) else None,
        weights=tuple(file for file in weights if not os.path.isdir(path / file)),
        defines_model="model" in known,
        source_sha256=hash_of_sources(path, modules, branch),
        branch=branch,
        modules=tuple(modules),
        is_placeholder=all(isinstance(statement, ast.Pass) for statement in body),
    )


def _assigned(statement: ast.Assign, known: dict[str, object]) -> dict[str, object]:
    """Return what a statement assigns to plain names; a value that is not told is None."""
    (target, *_), value = statement.targets, statement.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        pairs = list(zip(target.elts, value.elts, strict=True))
    else:
        pairs = [(target, value)]
    return {name.id: value_of(part, known) for name, part in pairs if isinstance(name, ast.Name)}


def _files(statement: ast.stmt, known: dict[str, object]) -> Iterator[str]:
    """Yield the paths into model_zoo that a statement spells out."""
    for text in _texts(statement, known):
        file = text.removeprefix("./")
        names_a_file = file.startswith(f"{MODEL_ZOO}/") and not file.endswith("/")
        if names_a_file and ".." not in Path(file).parts and len(file) < 255 and file.isprintable():
            yield file


def _texts(statement: ast.stmt, known: dict[str, object]) -> Iterator[str]:
    """Yield the texts that a statement spells out, each as a whole: none that something else goes on behind."""
    waiting: deque[tuple[ast.AST, bool]] = deque([(statement, False)])
    while waiting:
        node, goes_on = waiting.popleft()
        value = value_of(node, known) if isinstance(node, _SPELT) else None
        if isinstance(value, str) and not goes_on:
            yield value
        elif value is None:
            parts = list(ast.iter_child_nodes(node))
            waiting += [(part, is_composed(node) and (goes_on or part is not parts[-1])) for part in parts]


def _apart(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries; of those that share a label, each with its id in it."""
    counts = Counter(its.label.lower() for its in entries)
    return [replace(its, label=f"{its.label}_id{its.id}") if counts[its.label.lower()] > 1 else its for its in entries]


def _plain(name: str) -> str:
    """Return a name that is safe in a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_.") or "unnamed"


def _counts_with_hooks(tree: ast.Module) -> bool:
    """Tell whether ``main`` takes FLOPs from the counter of hooks, as in 2022."""
    main = _function(tree, "main")
    called = {dotted(node.func) for node in ast.walk(main) if isinstance(node, ast.Call)} if main else set()
    return "get_model_flops" in called
