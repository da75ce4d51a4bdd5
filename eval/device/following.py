"""Following a forward pass operator by operator."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Following(TorchDispatchMode):
    """In its block of code, ``note`` is called after each operator of torch, with it and the tensors that it returns.

    What ``torch.compile`` has compiled runs as it is written there, operator by operator.
    """

    def __init__(self, note: Callable[[Any, list[Tensor]], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self._note(func, [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)])
        return output
