"""What tells one network in memory from another: its weights, and whatever else decides what it computes."""

import hashlib
import inspect
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, NoneType

import numpy as np
import torch
from torch import Tensor, nn

# What any module has: told apart from the rest, or of no effect on an output.
_OF_ANY_MODULE = frozenset(vars(nn.Module()))
_PLAIN = (str, bytes, int, float, complex, NoneType, torch.dtype, torch.device, PurePath)
_DEEPEST = 20


def state_of(network: nn.Module) -> str:
    """Return what tells a network from one that was changed since, in its weights or otherwise."""
    return f"{hash_of_weights(network)} {hash_of_behaviour(network)}"


def hash_of_weights(network: nn.Module) -> str:
    """Return the hash of all tensors of a network, also of buffers that are not saved with it."""
    digest = hashlib.sha256()
    for name, tensor in sorted((dict(network.named_buffers()) | network.state_dict()).items()):
        digest.update(f"{name} {_of_tensor(tensor) if isinstance(tensor, Tensor) else repr(tensor)}\n".encode())
    return digest.hexdigest()


def _of_tensor(tensor: Tensor) -> str:
    values = tensor.detach().to_dense().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(values.tobytes()).hexdigest()}"


def hash_of_behaviour(network: nn.Module) -> str:
    """Return the hash of what else decides outputs: attributes and hooks of modules, and the code of each forward."""
    told = []
    for name, module in network.named_modules(remove_duplicate=False):
        own = {key: value for key, value in vars(module).items() if key not in _OF_ANY_MODULE}
        hooks = [[*getattr(module, kind, {}).values()] for kind in ("_forward_pre_hooks", "_forward_hooks")]
        told.append((name, type(module), own, hooks, inspect.getattr_static(module, "forward", None)))
    return hashlib.sha256(_in_words(told, {}).encode()).hexdigest()


def hash_of_source(network: nn.Module) -> str:
    """Return the hash of the text of a network's classes, as far as it can be had, and of how they behave now."""
    classes = {kind for module in network.modules() for kind in type(module).__mro__ if not _is_of_torch(kind)}
    texts = sorted(_text_of(kind) for kind in classes - {object})
    return hashlib.sha256("\n".join([*texts, hash_of_behaviour(network)]).encode()).hexdigest()


def _text_of(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return f"{kind.__module__}.{kind.__qualname__}"


def _is_of_torch(value: object) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == "torch"


def _in_words(value: object, seen: dict[int, object], left: int = _DEEPEST) -> str:
    """Return what a value is, in words that are the same in any process; of what has no such words, its class."""
    if isinstance(value, _PLAIN):
        return repr(value)
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__} {getattr(value, '__module__', '')} {getattr(value, '__name__', '')}"
    if id(value) in seen or not left:
        return name
    # Kept, so that no other object gets its number.
    seen[id(value)] = value
    return f"{name}({', '.join(_in_words(part, seen, left - 1) for part in _parts_of(value))})"


def _parts_of(value: object) -> Sequence[object]:
    """Return what a value is made of, as far as that decides what it computes."""
    match value:
        case Tensor():
            return [_of_tensor(value)]
        case np.ndarray():
            return [value.dtype.str, value.shape, value.tobytes()]
        case dict():
            return list(value.items())
        case list() | tuple():
            return value
        case set() | frozenset():
            return sorted(value, key=repr)
        case CodeType():
            return [value.co_code, value.co_consts, value.co_names]
        case partial():
            return [value.func, value.args, value.keywords]
        case MethodType():
            return [value.__func__, value.__self__]
        case FunctionType() if not _is_of_torch(value):
            return [value.__code__, value.__defaults__, value.__kwdefaults__, value.__closure__]
        case CellType():
            return _content_of(value)
        case type() | ModuleType() | FunctionType() | logging.Logger():
            return []
    # Of torch, layers and what re-parametrizes them alone hold values: the rest are caches, graphs and compilers.
    holds = not _is_of_torch(value) or type(value).__module__.startswith("torch.nn.")
    return [vars(value)] if holds and hasattr(value, "__dict__") else []


def _content_of(cell: CellType) -> list[object]:
    try:
        return [cell.cell_contents]
    except ValueError:
        return []
