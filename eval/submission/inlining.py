"""One file of a network that is made of several: what it imports from its own folder is put into it."""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eval.errors import RunError

_DEFINITIONS = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)


@dataclass
class _Module:
    """A module's statements, by what they do."""

    name: str
    docstring: str = ""
    imports: list[str] = field(default_factory=list)
    # For each local module, the names that are taken from it.
    local: dict[str, list[str]] = field(default_factory=dict)
    body: list[tuple[ast.stmt, str]] = field(default_factory=list)


def one_file(root: Path, module: str) -> str:
    """Return a module's code with all that it takes from other modules under ``root``, however indirectly.

    Args:
        root: the folder that its imports start from.
        module: its dotted name.

    Raises:
        RunError: it takes a local module whole, or under another name, or two modules use one name differently.
    """
    main = _read(root, module)
    parts: dict[str, list[str]] = {}
    imports: dict[str, None] = {}
    _collect(root, main, None, parts, imports)
    definitions = "\n\n\n".join(text for texts in parts.values() for text in texts)
    return "\n\n".join(filter(None, [main.docstring, _merged(imports), definitions])) + "\n"


def _merged(imports: Iterable[str]) -> str:
    """Return imports, one line a module: those from __future__ first, then modules, then names."""
    whole, names = set(), {}
    for line in imports:
        (node,) = ast.parse(line).body
        if isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            names.setdefault(source, set()).update(ast.unparse(alias) for alias in node.names)
        else:
            whole.add(line)
    lines = [f"from {source} import {', '.join(sorted(taken))}" for source, taken in sorted(names.items())]
    first = [line for line in lines if line.startswith("from __future__")]
    return "\n".join([*first, *sorted(whole), *(line for line in lines if line not in first)])


def _read(root: Path, name: str) -> _Module:
    path = _file_of(root, name)
    text = path.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise RunError(f"{path}: cannot be read as Python: {error}") from error
    module, lines = _Module(name), text.splitlines()
    for place, node in enumerate(tree.body):
        if place == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            module.docstring = _text_of(lines, node)
        elif isinstance(node, ast.ImportFrom) and _is_local(root, path, node):
            source = _source_of(root, path, node)
            if any(alias.asname or alias.name == "*" for alias in node.names):
                raise RunError(f"{path} line {node.lineno}: import names from {source} one by one, as they are called")
            module.local.setdefault(source, []).extend(alias.name for alias in node.names)
        elif isinstance(node, ast.Import) and any(_file_of(root, alias.name).is_file() for alias in node.names):
            raise RunError(f"{path} line {node.lineno}: import the names that you need, not the module as a whole")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module.imports.append(ast.unparse(node))
        else:
            module.body.append((node, _text_of(lines, node)))
    return module


def _text_of(lines: list[str], node: ast.stmt) -> str:
    """Return a statement as it is written, with its decorators and the comment above it."""
    first = min([node.lineno, *(its.lineno for its in getattr(node, "decorator_list", []))]) - 1
    while first > 0 and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(lines[first : node.end_lineno])


def _source_of(root: Path, path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(root).parent.parts
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _is_local(root: Path, path: Path, node: ast.ImportFrom) -> bool:
    return _file_of(root, _source_of(root, path, node)).is_file()


def _file_of(root: Path, module: str) -> Path:
    return root / f"{module.replace('.', '/')}.py"


def _collect(
    root: Path, module: _Module, wanted: Iterable[str] | None, parts: dict[str, list[str]], imports: dict[str, None]
) -> None:
    """Add what a module is made of, that of others first; only what ``wanted`` names need, or all for None."""
    chosen = _needed(module, wanted)
    used = {name for node, _ in chosen for name in _names_in(node)}
    for source, names in module.local.items():
        if taken := [name for name in names if name in used or wanted is None]:
            _collect(root, _read(root, source), taken, parts, imports)
    imports |= dict.fromkeys(line for line in module.imports if _bound(line) & used or "__future__" in line)
    known = parts.setdefault(module.name, [])
    # Statements of one line have its text in common.
    known += [text for text in {node.lineno: text for node, text in chosen}.values() if text not in known]
    # A module may set a name twice: nothing of another one comes between.
    defined = Counter(name for texts in parts.values() for name in _bound_in(texts))
    if repeated := {name for name, count in defined.items() if count > 1}:
        raise RunError(
            f"{module.name}: {', '.join(sorted(repeated))} is defined in another of its modules too; rename it"
        )


def _needed(module: _Module, wanted: Iterable[str] | None) -> list[tuple[ast.stmt, str]]:
    if wanted is None:
        return module.body
    names, before = set(wanted), 0
    while len(names) > before:
        before = len(names)
        names |= {used for node, _ in module.body if names & _touched(node) for used in _names_in(node)}
    return [(node, text) for node, text in module.body if names & _touched(node)]


def _names_in(node: ast.AST) -> Iterator[str]:
    yield from (its.id for its in ast.walk(node) if isinstance(its, ast.Name))


def _bound_in(texts: Iterable[str]) -> set[str]:
    """Return the names that statements make known; to set an attribute or an item of one binds no name."""
    nodes = [node for text in texts for node in ast.parse(text).body]
    named = {node.name for node in nodes if isinstance(node, _DEFINITIONS)}
    return named | {its.id for node in nodes for its in _names_of_targets(node) if isinstance(its.ctx, ast.Store)}


def _touched(node: ast.stmt) -> set[str]:
    """Return the names that a statement defines, or whose attributes or items it sets."""
    return {node.name} if isinstance(node, _DEFINITIONS) else {its.id for its in _names_of_targets(node)}


def _names_of_targets(node: ast.stmt) -> Iterator[ast.Name]:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (its for target in targets for its in ast.walk(target) if isinstance(its, ast.Name))


def _bound(line: str) -> set[str]:
    """Return the names that an import makes known."""
    (node,) = ast.parse(line).body
    assert isinstance(node, ast.Import | ast.ImportFrom)
    return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
