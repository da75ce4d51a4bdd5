"""Following a forward pass operator by operator."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Call(NamedTuple):
    """One call of an operator of torch, with the tensors among its arguments and among what it returned."""

    operator: Any
    args: tuple
    read: list[Tensor]
    made: list[Tensor]

    @property
    def name(self) -> str:
        """The operator's name in its namespace; whether it works in place makes no difference."""
        return self.operator._schema.name.partition("::")[2].rstrip("_")


class Following(TorchDispatchMode):
    """In its block of code, ``note`` is called after each operator of torch.

    What ``torch.compile`` has compiled runs as it is written there, operator by operator.
    """

    def __init__(self, note: Callable[[Call], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self._note(Call(func, args, tensors_in((args, kwargs)), tensors_in(output)))
        return output


def tensors_in(tree: Any) -> list[Tensor]:
    """Return the tensors among an operator's arguments, or in what it returned."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
