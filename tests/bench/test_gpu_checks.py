"""The checks of a GPU themselves: what they compare, and what they make of it."""

import torch

from bench import gpu_checks

CPU = torch.device("cpu")


def test_what_engines_are_compared_with_is_eager(monkeypatch):
    """``auto``, which an accuracy pass takes by itself, may be any of them."""
    asked = []
    resolved = gpu_checks.resolved
    monkeypatch.setattr(gpu_checks, "resolved", lambda config: asked.append(config.engine) or resolved(config))
    assert gpu_checks.opened(CPU).execution.engine == "eager"
    assert gpu_checks.opened(CPU, engine="channels-last").execution.engine == "channels-last"
    assert asked == ["eager", "channels-last"]
