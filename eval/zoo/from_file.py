"""A network of a Python file: a class or a function by name, with arguments that a command line can say."""

import ast
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from eval.errors import UsageError
from eval.words import first_of

# What is said of a network to which no weights were given.
UNTRAINED = "untrained: drawn with seed 0"
_MOST_LISTED = 12


def parse_model_args(text: str | None) -> dict[str, Any]:
    """Read ``dim=36,act=relu,sizes=[1,2]``: values are Python's literals, or plain words as text.

    Raises:
        UsageError: it has another form.
    """
    if not text:
        return {}
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError
        arguments = {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}
        if len(arguments) < len(call.keywords):
            raise ValueError
        return arguments
    except (SyntaxError, ValueError, RecursionError) as error:
        expected = "expected NAME=VALUE with commas between, as dim=36,n_blocks=8,act=relu,sizes=[1,2]"
        raise UsageError(f"--model_args {text}: {expected}") from error


def data_range_of(given: float | None) -> float:
    """Return the data range of a network that no manifest describes: 1 where none is given."""
    return 1.0 if given is None else given


def _literal(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def called_with(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a network's name with the arguments that it is built with, as "Net(dim=36)"; without any, its name."""
    told = ",".join(f"{key}={value}" for key, value in arguments.items())
    return f"{name}({told})" if told else name


def build_network(module: ModuleType, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return what a class or a function of a module makes of arguments; a network that the module holds, as it is.

    Raises:
        UsageError: there is none of that name, it wants other arguments, or makes no ``torch.nn.Module``.
        Exception: whatever its code raises.
    """
    made = getattr(module, name, None)
    if isinstance(made, nn.Module) and not arguments:
        return made
    if not callable(made) or isinstance(made, nn.Module):
        raise UsageError(f"{module.__file__} has no class or function {name}; it has {_networks_of(module)}")
    if fault := fault_of_arguments(made, name, arguments):
        raise UsageError(f"{fault}; give them by --model_args NAME=VALUE,NAME=VALUE")
    network = made(**arguments)
    if not isinstance(network, nn.Module):
        raise UsageError(f"{name} made a {type(network).__name__}; expected a torch.nn.Module")
    return network


def fault_of_arguments(made: Any, name: str, arguments: Mapping[str, Any]) -> str | None:
    """Return what a class or function takes and why it cannot be called so; None if it can be, or does not say."""
    try:
        signature = inspect.signature(made)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(**arguments)
    except TypeError as error:
        wanted = ", ".join(map(str, signature.parameters.values()))
        return f"{name}({wanted}): {error}"
    return None


def _networks_of(module: ModuleType) -> str:
    """Return the names that a file defines and that may make a network."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    classes = [name for name in own if isinstance(getattr(module, name), type)]
    networks = [name for name in classes if issubclass(getattr(module, name), nn.Module)]
    functions = [name for name in own if inspect.isfunction(getattr(module, name))]
    return first_of([*networks, *functions], _MOST_LISTED) or "none"
