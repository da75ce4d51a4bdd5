"""Imports point one way, and nothing runs at import."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
# Each room may import those before it in this list, and itself.
ROOMS = [
    ["eval.errors", "eval.expressions", "eval.files", "eval.png", "eval.decoded", "eval.pipeline", "eval.transfer"],
    ["eval.images", "eval.resize", "eval.sources"],
    ["eval.zoo", "eval.bicubic", "eval.metrics"],
    ["eval.checkpoints", "eval.pairs"],
    ["eval.fetch", "eval.layouts"],
    [
        "eval.datasets",
        "eval.timing",
        "eval.memory",
        "eval.tiling",
        "eval.record",
        "eval.nvml",
        "eval.statistics",
        "eval.usage",
    ],
    ["eval.operands"],
    [
        "eval.records",
        "eval.inference",
        "eval.complexity",
        "eval.environment",
        "eval.inspection",
        "eval.engines",
        "eval.current",
    ],
    ["eval.keys"],
    ["eval.warmup", "eval.subject"],
    ["eval.disturbance"],
    ["eval.steady"],
    ["eval.runner", "eval.contenders"],
    ["eval.checkouts"],
    ["eval.tasks"],
    ["eval.images_folders", "eval.processes", "eval.speed_pass"],
    ["eval.ray_engine", "eval.aa"],
    [
        "eval.editions",
        "eval.entries",
        "eval.published",
        "eval.scores",
        "eval.rank_intervals",
        "eval.scoring",
        "eval.audit",
    ],
    ["eval.report"],
    ["eval.program"],
    ["eval.run_options"],
    ["eval.session"],
    ["eval.options", "eval.table1"],
    ["eval.cli"],
    ["eval.__main__"],
]
FIRST_PARTY = ("eval", "models", "team_bsr", "bench", "tests")


def _imports(path: Path) -> set[str]:
    """Return the project's modules that a file imports for more than type checking."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if path.name != "__main__.py" else ast.walk(tree):
        for inner in ast.walk(node) if not _is_type_checking(node) else ():
            if isinstance(inner, ast.ImportFrom) and inner.module:
                found |= {f"{inner.module}.{alias.name}" for alias in inner.names}
            elif isinstance(inner, ast.Import):
                found |= {alias.name for alias in inner.names}
    return {name for name in found if name.split(".")[0] in FIRST_PARTY}


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _level(module: str) -> int:
    for level, room in enumerate(ROOMS):
        if any(module == name or module.startswith(f"{name}.") for name in room):
            return level
    raise AssertionError(f"{module}: not in the list of rooms; put it where its imports allow")


def _sources(folder: str) -> list[Path]:
    return sorted((PROJECT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", _sources("eval"), ids=lambda path: str(path.relative_to(PROJECT)))
def test_eval_imports_only_downwards(path: Path):
    module = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
    if module == "eval":
        assert _imports(path) == set()
        return
    for name in _imports(path):
        if name.startswith("models."):
            assert name.startswith("models.window.")
            continue
        assert name.startswith("eval."), f"{module} imports {name}"
        imported = name if _is_module(name) else name.rpartition(".")[0]
        assert _level(imported) <= _level(module), f"{module} imports {imported}, which lies above it"
        if _level(imported) == _level(module):
            same_package = imported.split(".")[:2] == module.split(".")[:2]
            assert same_package or imported.split(".")[:2] in [room.split(".") for room in ROOMS[_level(module)]]


def _is_module(name: str) -> bool:
    path = PROJECT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


@pytest.mark.parametrize("path", _sources("models"), ids=lambda path: path.name)
def test_models_import_torch_and_each_other_only(path: Path):
    assert all(name.startswith("models.") for name in _imports(path))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    top |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = {"torch", "models", "collections", "contextlib", "contextvars", "dataclasses", "itertools"}
    assert {name.split(".")[0] for name in top} <= allowed


@pytest.mark.parametrize("folder", ["models", "eval"])
def test_no_library_module_parses_flags_or_edits_the_path(folder: str):
    for path in _sources(folder):
        if "checkouts" in path.parts:
            # A submission's code is imported as its own harness does it, in a process of its own.
            continue
        text = path.read_text(encoding="utf-8")
        assert "sys.path" not in text, path
        assert "sys.argv" not in text, path
        assert ".cuda()" not in text, path


def test_nothing_names_the_bench():
    for path in [*_sources("eval"), *_sources("models"), PROJECT / "test_demo.py", PROJECT / "README.md"]:
        if path.exists():
            assert "../shared" not in path.read_text(encoding="utf-8"), path
