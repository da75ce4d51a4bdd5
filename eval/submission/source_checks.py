"""Checks that read an entry's code and files, and run nothing of them."""

import ast
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import psutil

from eval.errors import RunError
from eval.sources import imported_modules
from eval.submission.findings import Finding, failed, not_checked, passed, warned
from eval.submission.subject import Facts, Subject, names_of
from eval.third_party.submission import ModelFile, Submission
from eval.words import first_of
from eval.zoo.checkpoints import Checkpoint, file_sha256
from eval.zoo.loading import read_state

# What the challenge's own test_demo.py and its helpers import.
_USUAL = {"torch", "numpy", "fvcore", "torchvision", "cv2"}
_HARMLESS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef, ast.Pass)
_WORK = {
    "cuda": "asks for a GPU",
    "load": "reads a file",
    "open": "reads a file",
    "load_state_dict": "loads weights",
    "forward": "runs the network",
    "compile": "compiles the network",
    "system": "starts a program",
    "Popen": "starts a program",
    "run": "starts a program",
}
# Of these, calls that mean something else on other objects.
_ON_MODULES = {"load": {"torch", "np", "numpy"}, "run": {"subprocess"}, "compile": {"torch"}}
_SWITCHES = re.compile(
    r"allow_tf32\s*=\s*True|set_float32_matmul_precision|fp32_precision|mkldnn|autocast|\.half\(\)"
    r"|cudnn\.benchmark\s*=\s*True"
)
_PLACEHOLDER = re.compile(r"your[_ ]model|\[your", re.I)
_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
# What reading a file of weights may take; files of others are at most 1 GiB.
_MOST_BYTES, _MOST_CPU_S = 4 * 2**30, 60


def one_file(facts: Facts) -> Finding:
    """Is the network one file?"""
    subject = facts.subject
    if subject.file is None:
        return failed("no file of the network was found", "put it into models/teamNN_Name.py and import it from there")
    if not subject.helpers:
        return passed(f"{subject.file.name} imports no other file of its folder")
    names = ", ".join(path.relative_to(subject.root).as_posix() for path in subject.helpers)
    why = f"{subject.file.name} also needs {names}"
    if all(path.is_relative_to(subject.root / "models") for path in subject.helpers):
        return Finding("note", why, "the challenge asks for one file; `pack` inlines what is imported from models/")
    return failed(why, "the challenge takes one file: move what is needed into it")


def packages(facts: Facts) -> Finding:
    """Which packages does it import?"""
    tree = _tree(facts.subject)
    tops = {name.partition(".")[0] for name in imported_modules(tree.body)}
    root = facts.subject.root
    own = {name for name in tops if (root / name).is_dir() or (root / f"{name}.py").is_file()}
    others = sorted(tops - own - _USUAL - sys.stdlib_module_names)
    if others:
        return warned(f"imports {', '.join(others)}", "the organisers' machine may lack it: copy what you use of it")
    return passed("imports nothing that the challenge's own code does not need")


def import_work(facts: Facts) -> Finding:
    """Does importing its file do anything?"""
    busy = [node for node in _tree(facts.subject).body if not _is_harmless(node)]
    if not busy:
        return passed("importing it defines names and nothing else")
    text = ast.unparse(busy[0]).splitlines()[0][:60]
    fix = 'put it under if __name__ == "__main__", or remove it'
    return failed(f"line {busy[0].lineno} runs at import: {text}", fix)


def construction_work(facts: Facts) -> Finding:
    """Does constructing the network run it, read files or ask for a GPU?"""
    classes = [node for node in ast.walk(_tree(facts.subject)) if isinstance(node, ast.ClassDef)]
    if found := [work for node in classes for work in _work_of(node)]:
        fix = "a constructor makes layers only: the harness warms up and loads weights"
        return failed(first_of(found, 3, "; "), fix)
    return passed("constructors make layers and nothing else")


def switches(facts: Facts) -> Finding:
    """Does its code change how torch computes?"""
    for path in (_file(facts.subject), *facts.subject.helpers):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if match := _SWITCHES.search(line.partition("#")[0]):
                fix = "entries are compared in float32 as torch ships it: remove it"
                return failed(f"{path.name} line {number}: {match.group(0)}", fix)
    return passed("its code sets no precision, TF32 or autotuning")


def checkpoint(facts: Facts) -> Finding:
    """Are the weights plain tensors, loaded strictly?"""
    subject = facts.subject
    if not subject.checkpoints:
        why = "it has no weights" if subject.branch is None else "its file of weights is not here, or not told plainly"
        return not_checked(why)
    if subject.branch and "strict=False" in subject.branch:
        return failed("select_model loads with strict=False, which hides missing keys", "load with strict=True")
    for path in subject.checkpoints:
        read = _kinds_apart if isinstance(subject.source, Submission | ModelFile) else _kinds
        try:
            kinds = read(path)
        except RunError as error:
            return failed(str(error), "torch.save(network.state_dict(), FILE), or safetensors")
        if kinds != ["float32"]:
            return warned(f"{path.name} holds {', '.join(kinds)}", "save weights in float32: network.float()")
    if facts.weights_steps:
        why = f"{names_of(subject.checkpoints)}: {'; '.join(facts.weights_steps)}"
        return Finding("note", why, "strict=True takes no such file as it is; `pack` writes one that it takes")
    return passed(f"{names_of(subject.checkpoints)}: plain float32 tensors, read without running code")


def _kinds(path: Path) -> list[str]:
    """Return the types of the floating-point tensors of a file of weights."""
    state = read_state(Checkpoint(path, file_sha256(path), None))
    return sorted({str(its.dtype).removeprefix("torch.") for its in state.values() if its.is_floating_point()})


def _kinds_apart(path: Path) -> list[str]:
    """Do the same in a process that is held: without code, too, a file of 30 bytes can ask for all memory."""
    with ProcessPoolExecutor(1, get_context("spawn"), _hold, (_MOST_BYTES,)) as pool:
        try:
            return pool.submit(_kinds, path).result()
        except BrokenProcessPool:
            raise RunError(f"{path}: the process that read it died, or took over {_MOST_CPU_S} s") from None


def _hold(most_bytes: int) -> None:
    import resource  # which Windows lacks

    mapped = psutil.Process().memory_info().vms
    for kind, most in ((resource.RLIMIT_AS, mapped + most_bytes), (resource.RLIMIT_CPU, _MOST_CPU_S)):
        _, former = resource.getrlimit(kind)
        # It cannot be raised where it is lower already, as on a batch system.
        if former == resource.RLIM_INFINITY or most < former:
            resource.setrlimit(kind, (most, most))


def file_names(facts: Facts) -> Finding:
    """Do files and the name have the challenge's form?"""
    subject, info = facts.subject, facts.subject.source.info
    file, number = _file(subject), f"{info.id:02}"
    wrong = [] if re.fullmatch(r"team\d{2,}_\w+\.py", file.name) else [f"{file.name} is not teamNN_Name.py"]
    wrong += [
        f"{path.name} is not teamNN_name.pth"
        for path in subject.checkpoints
        if not re.match(r"team\d{2,}_", path.name) or path.suffix not in _SUFFIXES
    ]
    of_checkout = isinstance(subject.source, Submission)
    if of_checkout:
        wrong += [f"the name {info.name!r} does not begin with {number}_"] * (not info.name.startswith(f"{number}_"))
        told = {path.name: re.match(r"team(\d{2,})_", path.name) for path in (file, *subject.checkpoints)}
        others = [name for name, match in told.items() if match and match.group(1) != number]
        wrong += [f"{name} is of another team than {number}" for name in others]
    if not wrong:
        return passed("teamNN_Name.py and teamNN_name.pth, with two digits")
    why = "; ".join(wrong)
    if of_checkout:
        return failed(why, f"rename them: models/team{number}_Name.py, model_zoo/team{number}_name.pth")
    return warned(why, "`pack` writes them under the challenge's names")


def select_model(facts: Facts) -> Finding:
    """Is there a branch for it, and does it define a model?"""
    source = facts.subject.source
    if not isinstance(source, Submission):
        return not_checked("no checkout was given; `pack` writes the entry for select_model")
    entry, fix = source.entry, f"fill in the branch `elif model_id == {source.entry.id}:`"
    if not entry.defines_model:
        return failed(entry.fault or f"the branch of id {entry.id} defines no model", fix)
    if entry.data_range is None:
        return failed("the branch does not say its data range plainly", "set data_range = 1.0 or 255.0 in it")
    if not entry.weights:
        fix = "name it by os.path.join('model_zoo', 'teamNN_name.pth')"
        return warned("the branch names no file in model_zoo/", fix)
    return passed(f"the branch of id {entry.id} names its class, data range {entry.data_range:g} and weights")


def placeholder(facts: Facts) -> Finding:
    """Is the template's placeholder gone?"""
    subject = facts.subject
    if subject.branch is None:
        return not_checked("no checkout was given")
    text = (subject.root / "test_demo.py").read_text(encoding="utf-8", errors="replace")
    if match := _PLACEHOLDER.search(text):
        line = text[: match.start()].count("\n") + 1
        return failed(f"test_demo.py line {line} still holds the template's words", "replace or delete those lines")
    return passed("test_demo.py holds none of the template's words")


def _file(subject: Subject) -> Path:
    if subject.file is None:
        raise RunError("no file of the network was found")
    return subject.file


def _tree(subject: Subject) -> ast.Module:
    file = _file(subject)
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise RunError(f"{file}: cannot be read as Python: {error}") from error


def _is_harmless(node: ast.stmt) -> bool:
    """Tell whether a statement of a module only defines names: values may be calculated, but not by a network."""
    if isinstance(node, ast.If):
        test = ast.unparse(node.test)
        return "__name__" in test or all(map(_is_harmless, [*node.body, *node.orelse]))
    if isinstance(node, ast.Try):
        handlers = (statement for handler in node.handlers for statement in handler.body)
        return all(map(_is_harmless, [*node.body, *handlers, *node.orelse]))
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return not any(isinstance(inner, ast.Call) and "torch" in ast.unparse(inner) for inner in ast.walk(node))
    return isinstance(node, _HARMLESS) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _work_of(node: ast.ClassDef) -> Iterator[str]:
    """Yield what a class's constructor does besides making layers."""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            for call in ast.walk(method):
                if isinstance(call, ast.Call) and (work := _kind_of(call)):
                    yield f"{node.name}.__init__, line {call.lineno}, {work}"


def _kind_of(call: ast.Call) -> str | None:
    function, text = call.func, ast.unparse(call)
    if isinstance(function, ast.Name):
        return "runs the network" if function.id == "self" else _WORK["open"] if function.id == "open" else None
    if not isinstance(function, ast.Attribute):
        return "runs the network" if text.startswith("self.") else None
    owner = ast.unparse(function.value)
    if function.attr == "to" and re.search(r"cuda", text):
        return "asks for a GPU"
    if function.attr == "forward" and owner not in ("self", "super()"):
        return None
    allowed = _ON_MODULES.get(function.attr)
    return _WORK.get(function.attr) if allowed is None or owner in allowed else None
