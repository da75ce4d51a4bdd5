"""Kernels that ``torch.cuda.jiterator`` compiles for CUDA, in plain PyTorch: those that return one expression.

The C++ is read as an expression and never compiled: sums, products, quotients and the functions of a table.
"""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_KERNEL = re.compile(r"\s*template\s*<[^>]*>\s*\w+\s+\w+\s*\(([^)]*)\)\s*\{\s*return\b(.*);\s*\}\s*", re.S)
_BINARY = {ast.Add: torch.add, ast.Sub: torch.sub, ast.Mult: torch.mul, ast.Div: torch.div}
_FUNCTIONS: dict[str, Callable] = {
    **{name: getattr(torch, name) for name in ("exp", "tanh", "sqrt", "log", "erf", "pow", "abs")},
    **{"fabs": torch.abs, "max": torch.maximum, "fmax": torch.maximum, "min": torch.minimum, "fmin": torch.minimum},
    # Casts to the type of the elements.
    **dict.fromkeys(("T", "float", "double"), lambda value: value),
}


def create_jit_fn(code: str, **defaults: float) -> Callable[..., Tensor]:
    """Return what a kernel's code says, as a function of tensors; what it cannot be read as fails when it is called."""
    read = _KERNEL.fullmatch(code)
    try:
        if read is None:
            raise SyntaxError
        names = [parameter.split()[-1] for parameter in read.group(1).split(",")]
        body = ast.parse(_as_python(read.group(2)), mode="eval").body
    except (SyntaxError, IndexError):
        return _unreadable

    def call(*tensors: Tensor, **given: float) -> Tensor:
        return _value(body, dict(zip(names, tensors, strict=False)) | defaults | given)

    return call


def _as_python(expression: str) -> str:
    plain = re.sub(r"(?:\bstd\s*)?::", "", expression)
    plain = re.sub(r"static_cast\s*<\s*\w+\s*>", "", plain)
    return re.sub(r"(?<![\w.])(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)[fF]\b", r"\1", plain).strip()


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return torch.tensor(float(node.value))
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id] if isinstance(known[node.id], Tensor) else torch.tensor(float(known[node.id]))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, known)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left, known), _value(node.right, known))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        function = _FUNCTIONS.get(node.func.id) or _FUNCTIONS.get(node.func.id.removesuffix("f"))
        if function is not None and not node.keywords:
            return function(*(_value(argument, known) for argument in node.args))
    return _unreadable()


def _unreadable(*_tensors: Tensor, **_given: float) -> Tensor:
    raise ImportError("a kernel of torch.cuda.jiterator is needed that cannot be read here", name="jiterator")
