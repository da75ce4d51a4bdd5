"""What expressions of third-party code come to, found in their syntax tree and never by running them."""

import ast
import posixpath
from collections.abc import Callable, Iterable, Mapping
from operator import add
from typing import TypeGuard

Known = Mapping[str, object]
_JOINS = ("os.path.join", "join", "path.join")
# No path is longer, and a name that is doubled again and again must not fill the memory.
_LONGEST = 4096


def value_of(node: ast.expr, known: Known) -> object | None:
    """Return the value of an expression of constants, known names, f-strings, sums and ``os.path.join``; else None.

    It is None, too, where the expression is nested deeper than this goes.
    """
    try:
        return _value_of(node, known)
    except RecursionError:
        return None


def dotted(node: ast.AST) -> str:
    """Return a name with its attributes, as "os.path.join"; without the name if none begins it; "" for all else.

    Unlike ``ast.unparse``, it goes through nothing that stands before: calls of calls can be nested too deep for that.
    """
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id if isinstance(node, ast.Name) else "", *reversed(names)])


def _value_of(node: ast.expr, known: Known) -> object | None:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _value_of(node.operand, known)
        return -inner if isinstance(inner, int | float) else None
    if isinstance(node, ast.JoinedStr):
        return _joined(_piece(part, known) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined(_value_of(side, known) for side in (node.left, node.right))
    if _is_join(node) and node.args:
        return _joined((_value_of(part, known) for part in node.args), posixpath.join)
    return None


def is_composed(node: ast.AST) -> bool:
    """Tell whether a node makes a text of its parts, in their order: none but the last can be a whole one."""
    return _is_join(node) or isinstance(node, ast.BinOp | ast.JoinedStr | ast.FormattedValue | ast.Attribute)


def _is_join(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and dotted(node.func) in _JOINS


def _piece(part: ast.expr, known: Known) -> object | None:
    if not isinstance(part, ast.FormattedValue):
        return _value_of(part, known)
    value = _value_of(part.value, known)
    form = _value_of(part.format_spec, known) if part.format_spec else ""
    if value is None or not isinstance(form, str) or len(form) > 4:
        return None
    try:
        return format(value, form)
    except (TypeError, ValueError):
        return None


def _joined(parts: Iterable[object | None], put: Callable[[str, str], str] = add) -> str | None:
    """Return texts put together one by one; None as soon as one is no text, or they come to too much."""
    text = ""
    for part in parts:
        if not isinstance(part, str) or len(text) + len(part) > _LONGEST:
            return None
        text = put(text, part)
    return text
