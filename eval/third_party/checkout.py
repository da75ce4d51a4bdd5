"""The entries of an official checkout, found by reading ``test_demo.py`` and never by running it."""

import ast
import hashlib
import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.errors import UsageError, one_reason, printable
from eval.expressions import is_composed, value_of
from eval.files import open_within, sha256_within, why_unfit
from eval.sources import hash_of_sources, imported_modules

DEMO = "test_demo.py"
SELECT = "select_model"
MAX_SOURCE_BYTES = 4 * 2**20
_MOST_MOVES = 3
_MODEL_ZOO = "model_zoo"
_LFS_POINTER = b"version https://git-lfs"
# What spells a text out, other than by a name.
_SPELT = (ast.Constant, ast.JoinedStr, ast.BinOp, ast.Call)


@dataclass(frozen=True)
class Entry:
    """One branch of ``select_model``.

    Attributes:
        name: as the challenge prints it, without padding.
        label: the name in tables and folders, unlike that of any other checkout's entry.
        data_range: None where the branch does not say it plainly.
        weights: its files of weights, as far as the branch says them plainly; relative to the checkout.
        defines_model: False for a branch that is empty: a model that was withheld.
        forward: the function that ``run`` calls for this entry instead of ``forward``, if any.
        is_placeholder: its branch is ``pass``, as the template has it where an entry's own code belongs.
    """

    id: int
    name: str
    label: str
    data_range: float | None
    weights: tuple[str, ...]
    defines_model: bool
    forward: str | None
    source_sha256: str
    is_placeholder: bool = False


@dataclass(frozen=True)
class Checkout:
    """A folder that holds ``test_demo.py``, ``models/`` and ``model_zoo/``.

    Attributes:
        origin: "NTIRE" and the year where the code says it, else the folder's name.
        counts_with_hooks: its FLOPs are those of the older counter (2022), not fvcore's.
    """

    path: Path
    origin: str
    entries: tuple[Entry, ...]
    counts_with_hooks: bool

    def located(self, file: str) -> Path | None:
        """Return where a file of weights that is named lies, as a worker finds it; None if nowhere.

        It is at its path, or else the first of its name in model_zoo/, whatever the case.
        """
        places = (self.path / file, *of_one_name(file, self.path / _MODEL_ZOO))
        return next((place for place in places if why_unfit(place, self.path) is None), None)

    def weights_of(self, entry: Entry) -> dict[str, Path]:
        """Return where the files of weights lie that an entry names, without those that are not here."""
        places = {file: self.located(file) for file in entry.weights}
        return {file: place for file, place in places.items() if place and is_present(place, self.path)}

    def weights_sha256(self, entry: Entry) -> str | None:
        """Return the hash of an entry's weights; of several files, that of their hashes; None if one is not here.

        Of an entry that does not say which files it reads, it is the hash of all of model_zoo/.
        """
        places = self.weights_of(entry)
        if len(places) < len(entry.weights):
            return None
        if not places:
            return self._sha256_of_model_zoo() if entry.defines_model else None
        digests = [sha256_within(place, self.path) for place in places.values()]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def _sha256_of_model_zoo(self) -> str | None:
        """Return the hash of all files of model_zoo/ and of where they lie; None if there is none."""
        found = sorted(path for path in (self.path / _MODEL_ZOO).rglob("*") if why_unfit(path, self.path) is None)
        told = [f"{path.relative_to(self.path).as_posix()}\n{sha256_within(path, self.path)}\n" for path in found]
        return hashlib.sha256("".join(told).encode()).hexdigest() if told else None


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
    branches = dict(_branches(select)) if select else {}
    if not branches:
        raise UsageError(f"--checkout {path}: {DEMO} has no function {SELECT} that chooses by model_id")
    year = re.search(r"NTIRE(20\d\d)", demo.read_text(encoding="utf-8", errors="replace"))
    origin = year.group(0) if year else _plain(path.resolve().name)
    forwards = dict(_forwards(_function(tree, "run")))
    entries = [
        _entry(path, origin, model_id, body, forwards.get(model_id), moved_to)
        for model_id, body in sorted(branches.items())
    ]
    return Checkout(path.resolve(), origin, tuple(_apart(entries)), _counts_with_hooks(tree))


def branch_of(path: Path, model_id: int) -> str:
    """Return the code of an entry's branch of ``select_model``, as Python writes it; comments are gone."""
    select = _function(_parsed(path / DEMO), SELECT)
    bodies = dict(_branches(select)) if select else {}
    return "\n".join(map(ast.unparse, bodies.get(model_id, [])))


def source_of(path: Path, model_id: int) -> str | None:
    """Return the hash of an entry's source as the checkout's files are now; None if it has no such entry.

    Raises:
        OSError, UsageError: test_demo.py cannot be read.
    """
    select, moved_to = _select_function(path, _parsed(path / DEMO))
    body = dict(_branches(select)).get(model_id) if select else None
    if body is None:
        return None
    known: dict[str, object] = {"model_id": model_id}
    for statement in body:
        known |= _assigned(statement, known) if isinstance(statement, ast.Assign) else {}
    return _source_sha256(path, body, known, moved_to)


def _parsed(demo: Path) -> ast.Module:
    if demo.stat().st_size > MAX_SOURCE_BYTES:
        raise UsageError(f"{demo}: larger than {MAX_SOURCE_BYTES:,} bytes; this is no test_demo.py of the challenge")
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


def _branches(select: ast.FunctionDef) -> Iterator[tuple[int, list[ast.stmt]]]:
    """Yield the bodies of all ``if model_id == N``, wherever they stand."""
    for node in ast.walk(select):
        if isinstance(node, ast.If):
            for model_id in _ids(node.test):
                yield model_id, node.body


def _ids(test: ast.expr) -> list[int]:
    """Return the ids that a condition on ``model_id`` lets pass; none for any other condition."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return []
    if ast.unparse(test.left).removeprefix("args.") != "model_id":
        return []
    (right,) = test.comparators
    if isinstance(test.ops[0], ast.Eq):
        values = [value_of(right, {})]
    elif isinstance(test.ops[0], ast.In) and isinstance(right, ast.List | ast.Tuple | ast.Set):
        values = [value_of(item, {}) for item in right.elts]
    else:
        return []
    return [value for value in values if type(value) is int]


def _forwards(run: ast.FunctionDef | None) -> Iterator[tuple[int, str]]:
    """Yield the ids for which ``run`` calls a forward function of their own, with its name."""
    for node in ast.walk(run) if run else ():
        if isinstance(node, ast.If):
            for call in ast.walk(ast.Module(node.body, [])):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and "forward" in call.func.id:
                    yield from ((model_id, call.func.id) for model_id in _ids(node.test))


def _entry(
    path: Path, origin: str, model_id: int, body: Sequence[ast.stmt], forward: str | None, moved_to: Sequence[str]
) -> Entry:
    known: dict[str, object] = {"model_id": model_id}
    weights: dict[str, None] = {}
    for statement in body:
        if isinstance(statement, ast.Assign):
            known |= _assigned(statement, known)
        weights |= dict.fromkeys(_files(statement, known))
    name = printable(" ".join(str(known.get("name") or f"{model_id:02}").split()))[:80]
    data_range = known.get("data_range")
    return Entry(
        id=model_id,
        name=name,
        label=f"{origin.removeprefix('NTIRE')}-{_plain(name)}",
        data_range=float(data_range) if isinstance(data_range, int | float) else None,
        weights=tuple(file for file in weights if not os.path.isdir(path / file)),
        defines_model="model" in known,
        forward=forward,
        source_sha256=_source_sha256(path, body, known, moved_to),
        is_placeholder=all(isinstance(statement, ast.Pass) for statement in body),
    )


def _source_sha256(path: Path, body: Sequence[ast.stmt], known: Mapping[str, object], moved_to: Sequence[str]) -> str:
    modules = [*imported_modules(body, known), *moved_to]
    return hash_of_sources(path, modules, "\n".join(map(ast.unparse, body)))


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
        names_a_file = file.startswith(f"{_MODEL_ZOO}/") and not file.endswith("/")
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


def _apart(entries: list[Entry]) -> Iterator[Entry]:
    """Yield the entries; of those that share a label, each with its id in it."""
    counts = Counter(entry.label.lower() for entry in entries)
    for entry in entries:
        twice = counts[entry.label.lower()] > 1
        yield Entry(**{**vars(entry), "label": f"{entry.label}_id{entry.id}"}) if twice else entry


def _plain(name: str) -> str:
    """Return a name that is safe in a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_.") or "unnamed"


def _counts_with_hooks(tree: ast.Module) -> bool:
    """Tell whether ``main`` takes FLOPs from the counter of hooks, as in 2022."""
    main = _function(tree, "main")
    called = {ast.unparse(node.func) for node in ast.walk(main) if isinstance(node, ast.Call)} if main else set()
    return "get_model_flops" in called


def of_one_name(file: str | os.PathLike[str], folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that have the name of a path, whatever its case, in their order."""
    wanted = Path(file).name.lower()
    for its in sorted(folder.iterdir()) if folder.is_dir() else ():
        if its.name.lower() == wanted:
            yield its


def is_present(file: Path, checkout: Path) -> bool:
    """Tell whether a file of weights is here, and not just a pointer of Git LFS; a huge one is, too."""
    try:
        with open_within(file, checkout) as opened:
            return not opened.read(len(_LFS_POINTER)).startswith(_LFS_POINTER)
    except OSError:
        return False
