"""One file of a network that is made of several: what it imports from its own folder is put into it.

Of a module that others import, statements that define names come along where the names are needed. What else stands at
its top level (an ``if``, a ``try``, a call, a setting of what is another's) runs for what it does, and always comes
along. All of it stands in the order in which Python runs it; imports of packages alone go to the top.
"""

import ast
import builtins
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from eval.errors import RunError
from eval.expressions import dotted

_Import = ast.Import | ast.ImportFrom
_DEFINITIONS = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
_SCOPES = (*_DEFINITIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# What begins the names of decorators that note nothing elsewhere, as a registry's does.
_HARMLESS = {
    "abc", "cache", "contextlib", "contextmanager", "dataclass", "dataclasses", "functools", "inference_mode", "jit",
    "lru_cache", "no_grad", "overload", "singledispatch", "torch", "total_ordering", "typing", "wraps",
}  # fmt: skip
# Conditions that do not hold in a module that is imported.
_NEVER = ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


@dataclass(eq=False)
class _Statement:
    """A statement as it is written; ``source`` is the module of the folder that it imports names from, if it does."""

    node: ast.stmt
    text: str
    source: str = ""

    @cached_property
    def used(self) -> set[str]:
        """The names that occur in it."""
        return _names_in([self.node])

    @cached_property
    def bound(self) -> set[str]:
        """The names that it makes known; to set an attribute or an item of one binds no name."""
        found: set[str] = set()
        for its in _parts_that_run(self.node):
            if isinstance(its, _Import):
                found |= _known(its).keys()
            elif isinstance(its, (*_DEFINITIONS, ast.ExceptHandler)) and its.name:
                found.add(its.name)
            elif isinstance(its, ast.Name) and not isinstance(its.ctx, ast.Load):
                found.add(its.id)
        return found

    @cached_property
    def touched(self) -> set[str]:
        """The names that it makes known, or whose attributes or items it assigns."""
        if isinstance(self.node, ast.Assign):
            return _names_in(self.node.targets)
        return _names_in([self.node.target]) if isinstance(self.node, ast.AnnAssign | ast.AugAssign) else self.bound

    def acts(self, own: set[str]) -> bool:
        """Tell whether it does more than to define, or to assign what is its module's ``own``."""
        if isinstance(self.node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            return not self.touched <= own
        if isinstance(self.node, _DEFINITIONS):
            decorators = (its.func if isinstance(its, ast.Call) else its for its in self.node.decorator_list)
            # A registry's decorator or metaclass.
            noted = any(dotted(its).partition(".")[0] not in _HARMLESS for its in decorators)
            return noted or bool(getattr(self.node, "keywords", ()))
        return not (isinstance(self.node, ast.Pass) or _is_text(self.node) or _is_never_run(self.node))


@dataclass
class _Module:
    """A module: its imports of packages, its other statements, the names that others take of it, and what it needs."""

    path: Path
    docstring: str = ""
    imports: list[_Import] = field(default_factory=list)
    body: list[_Statement] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    kept: list[_Statement] = field(default_factory=list)

    def keep(self, whole: bool) -> None:
        """Choose the statements and the imports that are needed of it."""
        statements = [its for its in self.body if not its.source]
        own = {name for its in statements for name in its.bound}
        before, self.used = -1, set(self.taken)
        while len(self.used) > before:
            before = len(self.used)
            self.kept = [its for its in statements if whole or its.touched & self.used or its.acts(own)]
            self.used |= {name for its in self.kept for name in its.used}
        future = {"annotations"} if self.kept else set()
        self.imports = [its for its in self.imports if _known(its).keys() & {*self.used, *future, "*"}]

    def origins(self) -> dict[str, str]:
        """Return where each name comes from that it knows, but for those that it takes from another of the modules."""
        others = {name for its in self.body if its.source for name in its.bound}
        found = {name: "Python" for name in self.used - others if hasattr(builtins, name)}
        found |= {name: origin for its in self.imports for name, origin in _known(its).items() if name != "*"}
        for name in {name for its in self.kept for name in its.bound}:
            binding = [its for its in self.kept if name in its.bound]
            # What several modules try in the same words (`try: import …`) is one thing.
            tried = all(isinstance(its.node, ast.If | ast.Try) for its in binding)
            found[name] = "\n".join(its.text for its in binding) if tried else str(self.path)
        return found


def one_file(root: Path, module: str) -> str:
    """Return the code of a module, by its dotted name, with all that it takes of others under ``root``, at any remove.

    Raises:
        RunError: it takes a local module whole, under another name, or inside another statement, modules import each
            other, or one name is two things in two of them.
    """
    modules: dict[str, _Module] = {}
    _read_all(root, module, (), modules)
    main, origins = modules[module], dict[str, str]()
    # Who imports comes before what is imported: then it is known what is taken of that.
    for its in reversed(modules.values()):
        its.keep(whole=its is main)
        for statement in its.body:
            if statement.source:
                modules[statement.source].taken |= statement.bound if its is main else statement.bound & its.used
        if others := sorted(name for name, told in its.origins().items() if origins.setdefault(name, told) != told):
            told = f"{', '.join(others)} is defined in another of its modules too, or is another thing there; rename it"
            raise RunError(f"{its.path}: {told}")
    imports = _merged(node for its in modules.values() for node in its.imports)
    statements = "\n\n\n".join(_written(module, modules, set()))
    return "\n\n".join(filter(None, [main.docstring, imports, statements])) + "\n"


def _written(name: str, modules: dict[str, _Module], done: set[str]) -> Iterator[str]:
    """Yield the statements of a module, and where it first imports another one those of that."""
    done.add(name)
    for its in modules[name].body:
        if its.source and its.source not in done:
            yield from _written(its.source, modules, done)
        elif its in modules[name].kept:
            yield its.text


def _merged(imports: Iterable[_Import]) -> str:
    """Return imports, one line a module: those from __future__ first, then modules, then names."""
    whole, names = set(), defaultdict(set)
    for node in imports:
        if isinstance(node, ast.ImportFrom):
            names["." * node.level + (node.module or "")].update(map(ast.unparse, node.names))
        else:
            whole.add(ast.unparse(node))
    lines = [f"from {source} import {', '.join(sorted(taken))}" for source, taken in sorted(names.items())]
    first = [line for line in lines if line.startswith("from __future__")]
    return "\n".join([*first, *sorted(whole), *(line for line in lines if line not in first)])


def _read_all(root: Path, name: str, above: tuple[str, ...], found: dict[str, _Module]) -> None:
    """Read a module and all that it imports of the folder, these first."""
    module = _read(root, name)
    for source in [its.source for its in module.body if its.source]:
        if source in (*above, name):
            raise RunError(f"{module.path}: {source} imports it in turn; move what both need into a file of its own")
        if source not in found:
            _read_all(root, source, (*above, name), found)
    found[name] = module


def _read(root: Path, name: str) -> _Module:
    path = _file_of(root, name)
    try:
        with tokenize.open(path) as opened:
            text = opened.read()
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        fix = "; save it as UTF-8" if isinstance(error, UnicodeError) else ""
        raise RunError(f"{path}: cannot be read as Python: {error}{fix}") from error
    module, lines = _Module(path), text.split("\n")
    ends = Counter(line for node in tree.body for line in {node.lineno, node.end_lineno})
    for place, node in enumerate(tree.body):
        alone = ends[node.lineno] == ends[node.end_lineno] == 1
        written = _text_of(lines, node) if alone else ast.unparse(node)
        if isinstance(node, _Import):
            if source := _source_of(root, path, node):
                module.body.append(_Statement(node, written, source))
            else:
                module.imports.append(node)
        elif place == 0 and _is_text(node):
            module.docstring = written
        else:
            module.body.append(_Statement(node, written))
            for its in _parts_that_run(node, apart=()):
                if isinstance(its, _Import) and (source := _source_of(root, path, its)):
                    told = f"import from {source} at the top, not in a function or another statement"
                    raise RunError(f"{path} line {its.lineno}: {told}")
    return module


def _text_of(lines: list[str], node: ast.stmt) -> str:
    """Return a statement as it is written, with its decorators and the comment above it, unless that is an encoding."""
    first = min([node.lineno, *(its.lineno for its in getattr(node, "decorator_list", []))]) - 1
    while first > 0 and lines[first - 1].startswith("#") and not tokenize.cookie_re.match(lines[first - 1]):
        first -= 1
    return "\n".join(lines[first : node.end_lineno])


def _source_of(root: Path, path: Path, node: _Import) -> str:
    """Return the module of the folder that an import takes names from; empty where it is of a package."""
    parts: list[str] = []
    if isinstance(node, ast.ImportFrom):
        package = path.relative_to(root).parent.parts
        parts = [*package[: len(package) - node.level + 1]] if node.level else []
        parts += [node.module] if node.module else []
    where, source = f"{path} line {node.lineno}", ".".join(parts)
    if any(_file_of(root, ".".join([*parts, its.name])).is_file() for its in node.names):
        raise RunError(f"{where}: import the names that you need, not the module as a whole")
    if not source or not _file_of(root, source).is_file():
        return ""
    if any(its.asname or its.name == "*" for its in node.names):
        raise RunError(f"{where}: import names from {source} one by one, as they are called")
    return source


def _file_of(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    package = path / "__init__.py"
    return package if package.is_file() and not path.with_suffix(".py").is_file() else path.with_suffix(".py")


def _known(node: _Import) -> dict[str, str]:
    """Return the names that an import makes known, each with where it comes from."""
    if isinstance(node, ast.ImportFrom):
        return {its.asname or its.name: f"{'.' * node.level}{node.module or ''}.{its.name}" for its in node.names}
    tops = ((its, its.name.partition(".")[0]) for its in node.names)
    return {its.asname or top: its.name if its.asname else top for its, top in tops}


def _names_in(nodes: Iterable[ast.AST]) -> set[str]:
    return {its.id for node in nodes for its in ast.walk(node) if isinstance(its, ast.Name)}


def _parts_that_run(node: ast.AST, apart: tuple[type[ast.AST], ...] = _SCOPES) -> Iterator[ast.AST]:
    """Yield what runs of a statement when its module is imported, without what is in nodes ``apart``."""
    yield node
    if not isinstance(node, apart) and not _is_never_run(node):
        for child in ast.iter_child_nodes(node):
            yield from _parts_that_run(child, apart)


def _is_never_run(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) in _NEVER


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
