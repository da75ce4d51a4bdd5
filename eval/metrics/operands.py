"""Numbers that a network multiplies its features by and that are no parameters.

Kernels kept as buffers, as plain attributes or as constants of a module, and kernels drawn at random in the forward
pass do a parameter's work and stand in no count. Every tensor of a forward pass is traced to what its values come
from: the input, parameters, or tensors that the pass has not made itself. Where one that does not come from the input
meets one that does, in any operator but those that add, choose, join or compare, its origins are used as weights.

What is told apart: a tensor of at most 64 different values is a mask, a table of few levels or a small filter; what is
made of ranges, zeros and ones is a formula; an index says where, not how much; running means and variances normalise;
and what is mixed into a parameter of its own size or more (a mask, a spectral norm's vector) adds nothing to it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from eval.device.following import tensors_in
from eval.metrics.figures import Flag

# As for the counters: what is less changes no figure.
_SHARE_OF_PARAMS = 0.01
_FEW_VALUES = 64
_CHOOSING = frozenset(
    "add sub rsub cat stack where maximum minimum eq ne lt le gt ge copy fill masked_fill clamp clamp_min clamp_max "
    "index index_select index_put index_copy gather scatter take embedding bucketize searchsorted slice_scatter "
    "select_scatter isin logical_and logical_or grid_sampler_2d native_batch_norm cudnn_batch_norm miopen_batch_norm "
    "_native_batch_norm_legit_no_training _native_batch_norm_legit batch_norm_elemt".split()
)
_INDEXING = frozenset("index index_select index_put index_copy gather scatter take embedding".split())


@dataclass(frozen=True, eq=False)
class _Source:
    """A tensor whose values stand somewhere before the pass begins, or are drawn in it."""

    place: str
    name: str
    values: Tensor

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return self.values.numel()

    @cached_property
    def is_table(self) -> bool:
        """Whether so few values differ that it is a mask or a small filter."""
        values = torch.view_as_real(self.values) if self.values.is_complex() else self.values
        return self.count <= _FEW_VALUES or values.unique().numel() <= _FEW_VALUES


@dataclass(frozen=True)
class _Origin:
    """Where a tensor's values come from."""

    from_input: bool = False
    parameters: frozenset[_Source] = frozenset()
    others: frozenset[_Source] = frozenset()

    def __or__(self, other: "_Origin") -> "_Origin":
        """Return the origin of what is made of both."""
        mixed = (self.parameters | other.parameters, self.others | other.others)
        return _Origin(self.from_input or other.from_input, *mixed)

    def beyond_parameters(self) -> frozenset[_Source]:
        """Return what it takes from other tensors, without those that are mixed into as many parameters."""
        most = sum(source.count for source in self.parameters)
        return frozenset(source for source in self.others if source.count > most)


@dataclass
class Operands(TorchDispatchMode):
    """Follow a forward pass; afterwards ``flags`` says which numbers outside of the parameters are used as weights."""

    network: nn.Module
    x: Tensor
    used: set[_Source] = field(default_factory=set)
    _origins: dict[StorageWeakRef, _Origin] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note where parameters, buffers and the input lie: views share the storage of what they are views of."""
        super().__init__()
        for name, buffer in self.network.named_buffers():
            self._origins[_storage(buffer)] = _Origin(others=frozenset({_Source("buffers", name, _whole(buffer))}))
        for name, parameter in self.network.named_parameters():
            source = _Source("parameters", name, _whole(parameter))
            self._origins[_storage(parameter)] = _Origin(parameters=frozenset({source}))
        self._origins[_storage(self.x)] = _Origin(from_input=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run an operator and note what its output is made of."""
        kwargs = kwargs or {}
        # Under inference mode some operators come whole, as a convolution with its padding.
        if torch.is_inference_mode_enabled():
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        output = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2].rstrip("_")
        takes_form_alone = name.endswith("_like") or name.startswith("new_")
        origins = [] if takes_form_alone else [self._origin(tensor) for tensor in _read(name, args, kwargs)]
        mixed = reduce(or_, origins, _Origin())
        if mixed.from_input and name not in _CHOOSING:
            self._note_weights([origin for origin in origins if not origin.from_input])
        for tensor in tensors_in(output):
            if torch.Tag.nondeterministic_seeded in func.tags and not mixed.from_input:
                mixed = _Origin(others=frozenset({_Source("random draws", name, tensor)}))
            self._origins[_storage(tensor)] = mixed
        return output

    def _origin(self, tensor: Tensor) -> _Origin:
        storage = _storage(tensor)
        if storage not in self._origins:
            source = _Source("attributes or constants", str(tuple(tensor.shape)), _whole(tensor))
            self._origins[storage] = _Origin(others=frozenset({source}))
        return self._origins[storage]

    def _note_weights(self, operands: Iterable[_Origin]) -> None:
        """Remember the numbers that meet features here: a kernel, and what comes with it, as its bias."""
        found = frozenset().union(*(operand.beyond_parameters() for operand in operands))
        if not all(source.is_table for source in found):
            self.used |= found

    def flags(self) -> Iterator[Flag]:
        """Yield a flag if the numbers are more than a hundredth of the parameters."""
        count = sum(source.count for source in self.used)
        if count > _SHARE_OF_PARAMS * sum(parameter.numel() for parameter in self.network.parameters()):
            places = " and ".join(sorted({source.place for source in self.used}))
            largest = max(self.used, key=lambda source: source.count)
            text = f"{count:,} numbers in {places} are used as weights and are not in Params"
            yield Flag(code="weights", text=f"{text} (largest: {largest.name}, {largest.count:,})")


def _read(name: str, args: tuple, kwargs: dict) -> list[Tensor]:
    """Return the tensors that an operator's values come from."""
    tensors = tensors_in((args, kwargs))
    return [tensor for tensor in tensors if tensor.is_floating_point() or tensor.is_complex() or name not in _INDEXING]


def _storage(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


def _whole(tensor: Tensor) -> Tensor:
    """Return all numbers of a tensor's storage, of which it may be a part."""
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
