"""The checks of a GPU themselves: what they compare, and what they make of it."""

from pathlib import Path
from types import SimpleNamespace

import torch

from bench import gpu_checks, gpu_template
from eval.doctor.findings import judged, noted
from eval.timing.presets import PRESETS

CPU = torch.device("cpu")


def test_what_engines_are_compared_with_is_eager(monkeypatch):
    """``auto``, which an accuracy pass takes by itself, may be any of them."""
    asked = []
    resolved = gpu_checks.resolved
    monkeypatch.setattr(gpu_checks, "resolved", lambda config: asked.append(config.engine) or resolved(config))
    assert gpu_checks.opened(CPU).execution.engine == "eager"
    assert gpu_checks.opened(CPU, engine="channels-last").execution.engine == "channels-last"
    assert asked == ["eager", "channels-last"]


def test_an_entry_and_the_reference_are_timed_within_the_limit_of_their_check(monkeypatch):
    commands = []

    def run_command(*arguments: str) -> list[SimpleNamespace]:
        commands.append(arguments)
        return [SimpleNamespace(reason=None, images=[SimpleNamespace(psnr_db=30.0)])] if "accuracy" in arguments else []

    monkeypatch.setattr(gpu_template, "run_command", run_command)
    (row,) = gpu_template.check_sandbox(CPU, Path("checkout"))
    assert row.right
    *_, timed = commands
    _, limit_s = gpu_template.CHECKOUT_CHECKS["sandbox"]
    assert 2 * PRESETS[timed[timed.index("--preset") + 1]].budget_s < limit_s


def test_a_part_that_is_not_here_computes_nothing_wrong(monkeypatch):
    found = [judged("eager", True, ""), judged("compiled", False, ""), noted("compiled", "no compiler")]
    monkeypatch.setattr(gpu_checks, "check_networks", lambda _device, every: found)
    assert [row.right for row in gpu_checks.check_computing(CPU)] == [True, False, None]
