"""Training branches that are still in a network: what could be fused into fewer convolutions without another output.

A forward pass is followed operator by operator. Convolutions of one input that are summed, a convolution summed with
its own input, a batch normalisation behind a convolution, and a convolution straight behind another one are linear
together: one convolution does their work. The last kind is told only where the one convolution would be cheaper.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eval.device.following import Call, Following


@dataclass(frozen=True)
class _Convolution:
    """One call: its kernel ``(out, in / groups, height, width)``, and whether it moves by one pixel in one group."""

    kernel: tuple[int, ...]
    plain: bool

    @property
    def cost(self) -> int:
        """Multiply-adds an output pixel."""
        out, into, height, width = self.kernel
        return out * into * height * width

    def __str__(self) -> str:
        out, into, height, width = self.kernel
        return f"{height}x{width} of {into} to {out} channels"


class _Branches:
    """What is noted of a pass in eval mode: ``found`` says what could be fused, ``used`` what was read."""

    def __init__(self) -> None:
        self.used: set[int] = set()
        self._uses: Counter[int] = Counter()
        # What a tensor is a linear function of, by its id, and the convolutions on the way.
        self._linear: dict[int, tuple[int, tuple[_Convolution, ...]]] = {}
        self._kept: list[Tensor] = []
        self._candidates: list[tuple[str, tuple[int, ...], str]] = []

    def note(self, call: Call) -> None:
        for tensor in call.read:
            self._uses[id(tensor)] += 1
            self.used.add(tensor.untyped_storage().data_ptr())
        # An id is free for another tensor as soon as its own is gone.
        self._kept += [*call.made, *call.read]
        if call.made and call.read:
            self._follow(call.name, call.args, call.made[0])

    def _follow(self, name: str, args: tuple, output: Tensor) -> None:
        if name == "convolution" and args[1].ndim == 4:
            x, kernel, _, stride, *_, groups = args[:9]
            made = _Convolution(tuple(kernel.shape), groups == 1 and not args[6])
            self._behind_another(x, made)
            self._linear[id(output)] = (id(x), (made,)) if all(step == 1 for step in stride) else (id(output), (made,))
        elif "batch_norm" in name and id(args[0]) in self._linear:
            self._candidates.append(("normalisations behind a convolution", (id(args[0]),), "batch normalisation"))
            self._linear[id(output)] = self._linear[id(args[0])]
        elif name == "add" and isinstance(args[1], Tensor) and args[0].shape == args[1].shape:
            self._summed(args[0], args[1], output)

    def _behind_another(self, x: Tensor, second: _Convolution) -> None:
        base, made = self._linear.get(id(x), (0, ()))
        if len(made) != 1 or base == id(x) or not (made[0].plain and second.plain):
            return
        (first,) = made
        side = [a + b - 1 for a, b in zip(first.kernel[2:], second.kernel[2:], strict=True)]
        if second.kernel[0] * first.kernel[1] * side[0] * side[1] <= first.cost + second.cost:
            words = f"{second} behind {first}"
            self._candidates.append(("convolutions straight behind another one", (id(x),), words))

    def _summed(self, one: Tensor, other: Tensor, output: Tensor) -> None:
        parts = [self._linear.get(id(tensor), (id(tensor), ())) for tensor in (one, other)]
        (base, first), (other_base, second) = parts
        if base != other_base or not (first or second):
            return
        convolutions = (*first, *second)
        words = " + ".join(map(str, convolutions)) + (" + the input" if not (first and second) else "")
        ids = tuple(id(tensor) for tensor, part in zip((one, other), parts, strict=True) if part[1])
        self._candidates.append(("sums of branches of one input", ids, words))
        self._linear[id(output)] = (base, convolutions)

    @property
    def found(self) -> tuple[str, ...]:
        """One sentence a kind; what is used elsewhere too has to stay."""
        kinds: dict[str, list[str]] = {}
        for kind, ids, words in self._candidates:
            if all(self._uses[its] == 1 for its in ids):
                kinds.setdefault(kind, []).append(words)
        return tuple(f"{len(all_)} {kind} (first: {all_[0]})" for kind, all_ in kinds.items())


@torch.no_grad()
def branches_of(network: nn.Module, run: Callable[[], Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what could be fused in a network that ``run`` runs, and the parameters that it does not read."""
    branches = _Branches()
    with Following(branches.note):
        run()
    idle = [name for name, its in network.named_parameters() if its.untyped_storage().data_ptr() not in branches.used]
    return branches.found, tuple(idle)
