"""From what a file of weights holds to the state dict of a network: one order for all kinds of wrapping.

1. The dictionary of tensors is looked for under the keys of ``WRAPPERS``, in their order, where averaged weights
   (``ema``, ``X_ema``) come before all others, and once more inside of what is found; ``--weights_key`` names it
   instead, at any depth. Lists of tensors, which have no names, are passed over.
2. What is no tensor, and the counters of profilers, are left out, unless the network has them.
3. A prefix is taken off (``module.``, ``_orig_mod.``, ``model.net_g.``): one that all keys share, or one of names that
   trainers use under which just the network's keys lie; what lies beside it (a discriminator, a loss) is left out.
4. Floating-point numbers of another type become the network's, float32.

Each step that was taken is told, in the words of a record.
"""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eval.errors import RunError
from eval.words import first_of

# Trainers keep the weights under one of these keys; averaged ones (ema, params_ema, model_ema) are tried before.
WRAPPERS = (
    *("params", "state_dict", "model_state_dict", "model_state", "model", "netG", "net_g", "generator", "G", "g"),
    *("net", "network", "weights", "student", "module", "shadow"),
)
_COUNTERS = ("total_ops", "total_params")
_DEEPEST, _SHOWN_KEYS = 2, 8
# As torch_ema keeps averaged weights.
_NAMELESS = "tensors without names: copy them into the network, and save its state_dict"


@dataclass(frozen=True)
class Unwrapped:
    """The tensors that a network takes, the steps to get them in words, and how they are stored if not in float32."""

    state: dict[str, Tensor]
    steps: tuple[str, ...] = ()
    stored: str | None = None


def unwrapped(content: object, wanted: Mapping[str, Tensor], key: str | None = None) -> Unwrapped:
    """Return what a network with the state dict ``wanted`` takes of a file's content.

    A whole module stands for its state dict. ``key`` is where the tensors are (``params``, ``state_dict.params_ema``).

    Raises:
        RunError: there is no dictionary of tensors, or none at ``key``; what there is is told.
    """
    if isinstance(content, nn.Module):
        content = content.state_dict()
    where, found, others = _chosen(content, wanted, key)
    besides = f"; also there: {_listing(others)} (--weights_key chooses)" if others else ""
    steps = [f"taken from the key {_printable(where)}{besides}"] if where else []
    if key is None and (nameless := _nameless(content, wanted)):
        steps.append(f"passed over: {_listing(nameless)} ({_NAMELESS})")
    state, left_out = _tensors(found, wanted)
    prefix = _prefix(state, wanted)
    if prefix:
        steps.append(f"the prefix {_printable(prefix)} was taken off")
        left_out += [name for name in state if not name.startswith(prefix)]
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if left_out:
        steps.append(f"left out: {_listing(left_out)}")
    state, stored = _in_types_of(state, wanted)
    return Unwrapped(state, tuple(steps), stored)


def _chosen(content: object, wanted: Mapping[str, Tensor], key: str | None) -> tuple[str, dict, list[str]]:
    """Return the key of the dictionary of tensors ("" for the content itself), the dictionary, and other such keys."""
    deepest = _DEEPEST if key is None else max(_DEEPEST, key.count(".") + 1)
    found = {name: its for name, its in _parts(content, deepest) if isinstance(its, dict) and _tensors_of(its)}
    if key is not None:
        if (chosen := _at(key, found)) is None:
            raise RunError(f"--weights_key {key}: there are {_there(content, found, wanted)}")
        return key, chosen, []
    if "" in found and _fits(found[""], wanted):
        return "", found[""], []
    ranks = {name: rank for name in found if name and (rank := _rank(name)) is not None}
    inner = sorted(ranks, key=ranks.__getitem__)
    fitting = [name for name in inner if _fits(found[name], wanted)] or inner
    if fitting:
        return fitting[0], found[fitting[0]], [name for name in inner if name != fitting[0]]
    # Under a name that nobody knows: the only one, or the only one that fits.
    only = [name for name in found if _fits(found[name], wanted)] or list(found)
    if "" in only or len(only) == 1:
        name = "" if "" in only else only[0]
        return name, found[name], []
    inner = any(name and isinstance(its, dict) and its for name, its in _parts(content, _DEEPEST))
    chosen_by = "; --weights_key chooses one, as a.b.c" if inner else ""
    raise RunError(
        "expected a dictionary of tensors, or one under a key such as params_ema; "
        f"got {_there(content, found, wanted)}{chosen_by}"
    )


def _parts(content: object, deepest: int, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield what a file holds, down to a depth, with the dotted key that leads to it; the content itself has none."""
    yield name, content
    if isinstance(content, dict) and name.count(".") < deepest - 1:
        for key, value in content.items():
            if isinstance(key, str):
                yield from _parts(value, deepest, f"{name}.{key}" if name else key)


def _tensors_of(values: Mapping | list | tuple) -> list[Tensor]:
    return [its for its in (values.values() if isinstance(values, Mapping) else values) if isinstance(its, Tensor)]


def _nameless(content: object, wanted: Mapping[str, Tensor]) -> list[str]:
    """Return the dotted keys of lists that hold most of a network's tensors in their order, as averages without names.

    Losses, an optimizer's betas and states of random numbers do not.
    """
    lists = {name: _tensors_of(its) for name, its in _parts(content, _DEEPEST) if isinstance(its, (list, tuple))}
    return [name or "a list" for name, its in lists.items() if len(its) > len(wanted) / 2 and _in_order(its, wanted)]


def _in_order(tensors: list[Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors have the shapes of some of a network's, in its order: buffers may be left out."""
    shapes = iter([value.shape for value in wanted.values()])
    return all(tensor.shape in shapes for tensor in tensors)


def _at(key: str, found: Mapping[str, dict]) -> dict | None:
    """Return the dictionary at a key, or the part of one whose names begin with it, as in a file without levels."""
    if key in found:
        return found[key]
    for name in (name for name in found if not name or key.startswith(f"{name}.")):
        prefix = f"{key}.".removeprefix(f"{name}." if name else "")
        part = {its.removeprefix(prefix): value for its, value in found[name].items() if str(its).startswith(prefix)}
        if part:
            return part
    return None


def _rank(name: str) -> tuple | None:
    """Return where a dotted key stands in the order; None if one of its parts is not in it."""
    parts = name.split(".")
    ranks = [rank for part in parts if (rank := _rank_of_part(part)) is not None]
    if len(ranks) < len(parts):
        return None
    # Averaged weights come first, wherever that is said.
    return (not any(averaged for averaged, _ in ranks), ranks, name)


def _rank_of_part(part: str) -> tuple[bool, int] | None:
    """Return whether a key means averaged weights, and where its name stands in the order; None if nowhere."""
    names, lower = [name.lower() for name in WRAPPERS], part.lower()
    plain = lower.removesuffix("_ema").removeprefix("ema_")
    if lower == "ema" or plain != lower:
        return True, names.index(plain) if plain in names else -1
    return (False, names.index(lower)) if lower in names else None


def _fits(content: Mapping, wanted: Mapping[str, Tensor]) -> bool:
    state, _ = _tensors(content, wanted)
    return _under(_prefix(state, wanted), state) == wanted.keys()


def _tensors(content: Mapping, wanted: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors, and the keys of what is left out: no tensor, no name, or a profiler's counter."""
    state, left_out = {}, []
    for key, value in content.items():
        is_counter = str(key).rpartition(".")[2] in _COUNTERS and key not in wanted
        if isinstance(key, str) and isinstance(value, Tensor) and not is_counter:
            # A part that was compiled.
            state[key if key in wanted else key.replace("._orig_mod.", ".")] = value
        else:
            left_out.append(str(key))
    return state, left_out


def _prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return the prefix to take off the keys; empty if none helps."""
    if state.keys() == wanted.keys():
        return ""
    cuts = ((key, at) for key in state for at in range(len(key)) if key[at] == ".")
    matches = Counter(key[: at + 1] for key, at in cuts if key[at + 1 :] in wanted)
    shared = [prefix for prefix in matches if all(key.startswith(prefix) for key in state)]
    exact = [prefix for prefix in matches if _under(prefix, state) == wanted.keys()]
    names = {prefix: prefix.replace("_orig_mod.", "module.").removesuffix(".") for prefix in exact}
    ranks = {prefix: rank for prefix, name in names.items() if (rank := _rank(name)) is not None}
    trainers = sorted(ranks, key=ranks.__getitem__)
    best = [prefix for prefix in shared if prefix in exact] or trainers or sorted(shared, key=matches.__getitem__)[-1:]
    return best[0] if best and matches[best[0]] > len(state.keys() & wanted.keys()) else ""


def _under(prefix: str, state: Mapping[str, Tensor]) -> set[str]:
    return {key.removeprefix(prefix) for key in state if key.startswith(prefix)}


def _in_types_of(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str | None]:
    """Return the tensors with floats of another type as the network has them, and which types these were."""
    changed, stored = {}, {}
    for key, value in state.items():
        dtype = wanted[key].dtype if key in wanted else value.dtype
        differs = value.dtype != dtype and value.is_floating_point() and dtype.is_floating_point
        if differs and value.layout is torch.strided and not value.is_meta:
            stored[str(value.dtype).removeprefix("torch.")] = None
            changed[key] = value.to(dtype)
    return state | changed, ", ".join(stored) or None


def misfit(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Return how many keys do not fit, with the first of each kind and the nearest spelling; None if all do."""
    others = [
        f"{key} {_kind(state[key])} for {_kind(value)}"
        for key, value in wanted.items()
        if key in state and _kind(state[key]) != _kind(value)
    ]
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    misfits = {"missing": missing, "unexpected": unexpected, "of another type or shape": others}
    told = [f"{len(keys)} {kind} (first: {_printable(keys[0])})" for kind, keys in misfits.items() if keys]
    near = difflib.get_close_matches(missing[0], unexpected, n=1, cutoff=0.5) if missing and unexpected else []
    hint = f". The nearest to {_printable(missing[0])} in the file is {_printable(near[0])}" if near else ""
    return f"keys {'; '.join(told)}{hint}" if told else None


def _kind(tensor: Tensor) -> str:
    dense = tensor.layout is torch.strided and tensor.device.type == "cpu"
    where = "" if dense else f"{tensor.layout} on {tensor.device} "
    return f"{where}{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _there(content: object, found: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> str:
    """Return what a file holds, for a message: the keys that hold tensors, else those at its top."""
    if not isinstance(content, dict):
        return f"a {type(content).__name__}: save a state_dict, torch.save(network.state_dict(), FILE)"
    keys = [name for name in found if name] or list(map(str, content))
    nameless = _nameless(content, wanted)
    besides = f", and {_listing(nameless)} ({_NAMELESS})" if nameless else ""
    return f"the keys {_listing(keys)}{besides}" if keys else "an empty dictionary"


def _listing(names: list[str]) -> str:
    return first_of([_printable(name)[:80] for name in names], _SHOWN_KEYS)


def _printable(text: str) -> str:
    """Keep a key of a third-party file from steering the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
