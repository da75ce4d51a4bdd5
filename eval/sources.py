"""Which files a network is made of: those that its code imports, and those that they import. Read, never run."""

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

from eval.expressions import dotted, value_of
from eval.files import PROJECT, open_within, sha256_within, why_unfit

# Larger files are data in the form of Python.
_MAX_SOURCE_BYTES = 4 * 2**20


def imported_modules(body: Iterable[ast.stmt], known: Mapping[str, object] = {}) -> list[str]:
    """Return the modules that statements import, by statement or by ``importlib.import_module`` of a known name."""
    found = []
    for node in _running(body):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("import_module") and node.args:
            name = value_of(node.args[0], known)
            found += [name] if isinstance(name, str) else []
    return found


def _running(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes of statements, without what is there for type checkers alone."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        for_types = isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING")
        waiting += node.orelse if isinstance(node, ast.If) and for_types else ast.iter_child_nodes(node)


def hash_of_sources(
    root: Path, modules: Iterable[str], text: str = "", of_file: Callable[[Path, Path], str] = sha256_within
) -> str:
    """Return the hash of all files under ``root`` that modules are made of, and of a text: a branch of code, a row.

    ``of_file`` returns the hash of one file under a folder.
    """
    digest = hashlib.sha256(text.encode())
    for file in sorted(files_of(root, modules)):
        digest.update(str(file.relative_to(root)).encode() + b"\n" + bytes.fromhex(of_file(file, root)))
    return digest.hexdigest()


@cache
def hash_at_first(root: Path, modules: tuple[str, ...], text: str = "") -> str:
    """Return that hash as it was when this process first asked for it: Python keeps the modules that it has imported.

    Each file is remembered, too: one that networks share may have been imported for another of them.
    """
    return hash_of_sources(root, modules, text, _sha256_at_first)


_sha256_at_first = cache(sha256_within)


def hash_of_file(file: Path, text: str = "") -> str:
    """Return the hash of a Python file, of all files of its folder that it imports however indirectly, and a text."""
    root = file.parent
    return hash_of_sources(root, _imports_of(root, file), sha256_within(file, root) + text)


def file_and_imports(file: Path) -> set[Path]:
    """Return a Python file and all files of its folder that it imports, however indirectly, as far as its text says."""
    return {file} | files_of(file.parent, _imports_of(file.parent, file))


def packages_of(root: Path, files: Iterable[Path], modules: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the installed packages that files under ``root`` import, and modules are of, with their versions.

    None is imported for it. What lies under ``root``, the project and Python itself have no version here.
    """
    imported = {*modules, *(module for file in files for module in _imports_of(root, file))}
    names = {module.partition(".")[0] for module in imported} - sys.stdlib_module_names
    own = {name for name in names if any(_located(root, name)) or (PROJECT / name).is_dir()}
    found = {package for name in names - own for package in _distributions().get(name, ())}
    return tuple(sorted(f"{package} {version(package)}" for package in found))


# It reads what every installed package consists of.
_distributions = cache(packages_distributions)


def files_of(root: Path, modules: Iterable[str]) -> set[Path]:
    """Return all files under ``root`` that modules are made of, however indirectly; others are passed over."""
    found: set[Path] = set()
    waiting = [file for module in modules for file in _located(root, module)]
    while waiting:
        if (file := waiting.pop()) not in found:
            found.add(file)
            waiting += [other for module in _imports_of(root, file) for other in _located(root, module)]
    return found


def _located(root: Path, module: str) -> Iterator[Path]:
    """Yield the files under ``root`` for a dotted name: the module, and the packages that it lies in."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return
    for count in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:count])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if why_unfit(file, root) is None:
                yield file


def _imports_of(root: Path, file: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports; none if it is no Python."""
    try:
        with open_within(file, root) as opened:
            body = ast.parse(opened.read(_MAX_SOURCE_BYTES)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    yield from imported_modules(body)
    package = file.relative_to(root).parent.parts
    for node in _running(body):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
            yield ".".join(base)
            yield from (".".join((*base, alias.name)) for alias in node.names)
