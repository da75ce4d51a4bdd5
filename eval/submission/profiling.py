"""Where a network's time goes, operator by operator, and how far each is from what the machine could do.

The floor of an operator is the time of its multiply-adds at the rate of the machine's matrix product, or of its bytes
at the machine's memory bandwidth, whichever is longer. Both are measured here first, by the same threads; where
convolutions take TF32, as torch has it on a GPU, their floor is that of a product in TF32.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from eval.device.clock import Forward, timed
from eval.device.following import tensors_in
from eval.device.numerics import convolutions_take_tf32, has_tf32, products_in_tf32
from eval.device.placing import finish
from eval.metrics.branches import branches_of

_WARM_UP = 3
_SIDE, _BYTES = 1024, 2**26
# Of a smaller product on a GPU the time is that of starting the kernel.
_GPU_SIDE = 4096
_TRIES = 5
_FAR, _WORTH = 4.0, 0.03
# A time is doubted that is less than this share of its floor, or whose passes differ by more than this share of it.
_POSSIBLE, _UNSTEADY = 0.8, 0.3
_ADVISED = 3
_AGAIN = "measure again on an idle machine"


@dataclass(frozen=True)
class Machine:
    """What a device can do: multiply-adds a second in a float32 matrix product, bytes a second in a copy.

    Attributes:
        tf32_per_s: multiply-adds a second in a product in TF32, where convolutions take it.
    """

    multiply_adds_per_s: float
    bytes_per_s: float
    tf32_per_s: float | None = None

    def floor_s(self, kind: str, flops: int, moved_bytes: int) -> float:
        """Return the least time that an operator's work and traffic take."""
        rate = self.tf32_per_s if kind == "convolution" else None
        return max(flops / (rate or self.multiply_adds_per_s), moved_bytes / self.bytes_per_s)


@dataclass(frozen=True)
class Part:
    """One operator of a pass, or several together.

    Attributes:
        name: the module that calls it, or the kind of operators.
        kinds: the operators, as torch names them.
        time_s: median over passes.
        flops: multiply-adds.
        moved_bytes: of inputs and outputs, each once.
        floor_s: what the machine would take at least.
        passes_s: the time of each pass.
    """

    name: str
    kinds: tuple[str, ...]
    time_s: float
    flops: int
    moved_bytes: int
    floor_s: float
    passes_s: tuple[float, ...] = ()

    @property
    def spread_s(self) -> float:
        """The time between the quartiles of the passes."""
        return float(np.subtract(*np.quantile(self.passes_s or (0.0,), (0.75, 0.25))))

    @property
    def times_floor(self) -> float | None:
        """How many times its floor it takes; None where there is nothing to do."""
        return self.time_s / self.floor_s if self.floor_s else None

    @property
    def doubt(self) -> str | None:
        """Why nothing follows from its time, in words; None where something does."""
        if self.spread_s > _UNSTEADY * self.time_s:
            return f"between passes it differs by {1e3 * self.spread_s:.1f} ms, as where other work disturbs: {_AGAIN}"
        if self.times_floor is not None and self.times_floor < _POSSIBLE:
            return f"other work disturbed one of the two, or its data stay in the cache: {_AGAIN}"
        return None

    def __add__(self, other: "Part") -> "Part":
        kinds = tuple(dict.fromkeys((*self.kinds, *other.kinds)))
        flops, moved_bytes = self.flops + other.flops, self.moved_bytes + other.moved_bytes
        time_s, floor_s = self.time_s + other.time_s, self.floor_s + other.floor_s
        passes_s = tuple(mine_s + its_s for mine_s, its_s in zip(self.passes_s, other.passes_s, strict=True))
        return Part(self.name, kinds, time_s, flops, moved_bytes, floor_s, passes_s)


@dataclass(frozen=True)
class Profile:
    """A network's parts by layer and by kind of operator, the slowest first.

    Attributes:
        whole_s: the time of a pass without looking into it; sums of parts are longer by the cost of looking.
    """

    machine: Machine
    size: tuple[int, int]
    whole_s: float
    layers: tuple[Part, ...]
    kinds: tuple[Part, ...]
    advice: tuple[str, ...]


class _Watch(TorchDispatchMode):
    """Time every operator of a pass, with the module that calls it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.stack: list[str] = ["(network)"]
        self.seen: list[tuple[str, str, float, int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        finish(self.device)
        start = time.perf_counter()
        output = func(*args, **kwargs)
        finish(self.device)
        elapsed_s = time.perf_counter() - start
        # What only looks at memory in another way does no work.
        if not func.is_view and torch.Tag.inplace_view not in func.tags:
            name = func._schema.name.removeprefix("aten::").rstrip("_")
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **kwargs, out_val=output) // 2 if count else 0
            moved = sum(tensor.nbytes for tensor in tensors_in((args, kwargs, output)))
            self.seen.append((self.stack[-1], name, elapsed_s, flops, moved))
        return output

    @contextmanager
    def named(self, network: nn.Module) -> Iterator[None]:
        """Know which module runs, for a block of code."""
        with ExitStack() as hooks:
            for name, module in network.named_modules():
                if name:
                    enter = module.register_forward_pre_hook(lambda *_, name=name: self.stack.append(name))
                    # What a hook returns, unless it is None, takes the output's place.
                    leave = module.register_forward_hook(lambda *_: self.stack.pop() and None)
                    hooks.callback(enter.remove)
                    hooks.callback(leave.remove)
            yield


@torch.no_grad()
def measure_machine(device: torch.device) -> Machine:
    """Measure a device's matrix product of 1024x1024 (CUDA: 4096x4096) and its copy of 64 MiB; the best of five each.

    Where convolutions take TF32, the product is measured in TF32 as well.
    """
    side = _GPU_SIDE if device.type == "cuda" else _SIDE
    square = torch.rand(side, side, device=device)
    source = torch.rand(_BYTES // 4, device=device)
    target = torch.empty_like(source)
    product_s = _best_s(lambda x: torch.mm(x, x), square)
    copy_s = _best_s(target.copy_, source)
    tf32_per_s = None
    if has_tf32(device) and convolutions_take_tf32():
        with products_in_tf32():
            tf32_per_s = side**3 / _best_s(lambda x: torch.mm(x, x), square)
    return Machine(side**3 / product_s, 2 * _BYTES / copy_s, tf32_per_s)


def _best_s(work: Forward, x: Tensor) -> float:
    work(x)
    return min(timed(work, x)[1] for _ in range(_TRIES)) / 1000


@torch.no_grad()
def profile(network: nn.Module, x: Tensor, passes: int = 5) -> Profile:
    """Profile a network in eval mode on an image on its device, ``(1, 3, h, w)`` in its data range.

    Times are medians of the passes.
    """
    machine = measure_machine(x.device)
    for _ in range(_WARM_UP):
        network(x)
    whole_s = statistics.median(timed(network, x)[1] for _ in range(passes)) / 1000
    runs = []
    for _ in range(passes):
        watch = _Watch(x.device)
        with watch.named(network), watch:
            network(x)
        runs.append(watch.seen)
    parts = [_part(calls, machine) for calls in zip(*runs, strict=False)]
    layers, kinds = _together(parts, lambda part: part.name), _together(parts, lambda part: part.kinds[0])
    small = x[..., : min(64, x.shape[-2]), : min(64, x.shape[-1])]
    foldable, idle = branches_of(network, lambda: network(small))
    advice = (*_fusing(foldable, idle, parts), *_replacing(kinds), *_pruning(layers))
    size = (x.shape[-2], x.shape[-1])
    return Profile(machine, size, whole_s, layers, kinds, advice)


def _part(calls: Sequence[tuple[str, str, float, int, int]], machine: Machine) -> Part:
    """Return one operator from its calls in all passes."""
    name, kind, _, flops, moved = calls[0]
    passes_s = tuple(call[2] for call in calls)
    return Part(name, (kind,), statistics.median(passes_s), flops, moved, machine.floor_s(kind, flops, moved), passes_s)


def _together(parts: Iterable[Part], key: Callable[[Part], str]) -> tuple[Part, ...]:
    """Add up parts of one key; the slowest first."""
    sums: dict[str, Part] = {}
    for part in parts:
        name = key(part)
        sums[name] = sums[name] + part if name in sums else replace(part, name=name)
    return tuple(sorted(sums.values(), key=lambda its: -its.time_s))


def _fusing(foldable: Sequence[str], idle: Sequence[str], parts: Sequence[Part]) -> Iterator[str]:
    total_s = sum(part.time_s for part in parts)
    for sentence in foldable:
        yield f"fuse: {sentence}"
    if idle:
        yield f"leave out: {len(idle)} parameters that nothing reads (first: {idle[0]})"
    between_s = sum(part.time_s for part in parts if not part.flops)
    if between_s > 0.1 * total_s:
        share = f"{between_s / total_s:.0%} of the time is in operators without multiply-adds"
        yield f"{share}: an engine that fuses them with layers saves most of it (run --engine compiled)"


def _replacing(kinds: Sequence[Part]) -> Iterator[str]:
    total_s = sum(kind.time_s for kind in kinds)
    for kind in kinds:
        share, times = kind.time_s / total_s, kind.times_floor or 0
        if not kind.flops and share > _WORTH and times > _FAR:
            advice = kind.doubt or "look for another operator"
            yield f"{kind.name}: {share:.0%} of the time, {times:.1f} times its floor: {advice}"


def _pruning(layers: Sequence[Part]) -> Iterator[str]:
    total_s = sum(layer.time_s for layer in layers)
    for layer in [its for its in layers if its.flops][:_ADVISED]:
        share, times = layer.time_s / total_s, layer.times_floor or 0
        far = "far from its floor, so another shape or layout may do: try other channel counts, channels-last"
        near = "near its floor, so only fewer channels make it much faster: the first to prune"
        advice = layer.doubt or (far if times > _FAR else near)
        yield f"{layer.name}: {share:.0%} of the time, {times:.1f} times its floor: {advice}"


def first(profile_: Profile, count: int) -> Profile:
    """Return a profile with its slowest layers and one for the rest."""
    if len(profile_.layers) <= count:
        return profile_
    (rest,) = _together((replace(its, name="others") for its in profile_.layers[count:]), lambda its: its.name)
    return replace(profile_, layers=(*profile_.layers[:count], rest))
