"""The text of the error that a call ends with."""

from collections.abc import Callable
from typing import Any

import pytest


def said(kind: type[Exception], call: Callable, *given: Any, **named: Any) -> str:
    with pytest.raises(kind) as caught:
        call(*given, **named)
    return str(caught.value)
