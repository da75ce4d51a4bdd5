"""Imports point one way, and nothing runs at import."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
# Each folder or module may import those of the floors before it, and itself. docs/architecture.md has the same list.
FLOORS = [
    [
        "eval.cache",
        "eval.contents",
        "eval.errors",
        "eval.expressions",
        "eval.files",
        "eval.frozen",
        "eval.intervals",
        "eval.words",
    ],
    ["eval.config", "eval.json_files", "eval.sources", "eval.toml_files"],
    ["eval.data.png", "eval.data.resize", "eval.data.image_cache"],
    ["eval.data.images"],
    ["eval.device"],
    ["eval.metrics"],
    ["eval.data"],
    ["eval.zoo"],
    ["eval.inference"],
    ["eval.timing"],
    ["eval.records"],
    ["eval.ranking"],
    ["eval.report"],
    ["eval.run"],
    ["eval.third_party"],
    ["eval.doctor"],
    ["eval.submission"],
    ["eval.api", "eval.cli"],
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
    for level, floor in enumerate(FLOORS):
        if any(module == name or module.startswith(f"{name}.") for name in floor):
            return level
    raise AssertionError(f"{module}: on no floor; put it where its imports allow")


def _sources(folder: str) -> list[Path]:
    return sorted((PROJECT / folder).rglob("*.py"))


def test_eval_imports_only_downwards():
    for path in _sources("eval"):
        module = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        if module == "eval":
            assert _imports(path) == set()
            continue
        for name in _imports(path):
            _check_import(module, name)


def _check_import(module: str, name: str) -> None:
    if name.startswith("models."):
        assert name.startswith("models.window."), f"{module} imports {name}"
        return
    assert name.startswith("eval."), f"{module} imports {name}"
    imported = name if _is_module(name) else name.rpartition(".")[0]
    assert _level(imported) <= _level(module), f"{module} imports {imported}, which lies above it"
    if _level(imported) == _level(module):
        same_package = imported.split(".")[:2] == module.split(".")[:2]
        assert same_package or imported.split(".")[:2] in [floor.split(".") for floor in FLOORS[_level(module)]]


def _is_module(name: str) -> bool:
    path = PROJECT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def test_models_import_torch_and_each_other_only():
    allowed = {"torch", "models", "collections", "contextlib", "contextvars", "dataclasses", "functools", "itertools"}
    for path in _sources("models"):
        assert all(name.startswith("models.") for name in _imports(path)), path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        top |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in top} <= allowed, path


@pytest.mark.parametrize("folder", ["models", "eval"])
def test_no_library_module_parses_flags_or_edits_the_path(folder: str):
    for path in _sources(folder):
        if "third_party" in path.parts or path.name == "scoring_program.py":
            # A submission's code is imported as its own harness does it, in a process of its own; a server runs a file.
            continue
        text = path.read_text(encoding="utf-8")
        assert "sys.path" not in text, path
        assert "sys.argv" not in text, path
        assert ".cuda()" not in text, path


def test_the_architectures_table_has_the_same_floors():
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(eval/\w+)/`", text, re.M)
    folders = [name.replace(".", "/") for floor in FLOORS for name in floor if name.count(".") == 1]
    assert listed == [name for name in folders if (PROJECT / name).is_dir() and name in listed]
    assert set(listed) == {
        f"eval/{path.name}" for path in (PROJECT / "eval").iterdir() if (path / "__init__.py").exists()
    }
    modules = {path.name for path in (PROJECT / "eval").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert not {name for name in modules if name not in text}


def test_only_the_device_layer_calls_cuda_and_mps():
    for path in _sources("eval"):
        if not {"device", "shims"} & set(path.parts):
            text = path.read_text(encoding="utf-8")
            assert "torch.cuda." not in text, path
            assert "torch.mps." not in text, path
