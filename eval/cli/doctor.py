"""The command that says whether this installation computes right."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from eval.cli.flags import Device
from eval.config import AUTO
from eval.errors import RunError, UsageError
from eval.words import counted

if TYPE_CHECKING:
    import torch


def doctor(
    device: Device = AUTO,
    every: Annotated[
        bool, typer.Option("--all", help="Check the engines that compile and all precisions too; takes minutes.")
    ] = False,
) -> None:
    """Check that this installation computes correctly, and list what is missing; exit code 1 if a check fails."""
    from eval.cli.terminal import Terminal
    from eval.device.placing import pick_device
    from eval.doctor.findings import Outcome, examined

    terminal, where = Terminal(), pick_device(device)
    wrong = 0
    for name, check in _checks(where, every).items():
        for finding in examined(name, check):
            terminal.say(f"{finding.outcome:<6} {finding.what}: {finding.words}")
            wrong += finding.outcome is Outcome.WRONG
    if wrong:
        raise RunError(
            f"{counted(wrong, 'check')} failed, see the lines above: do not use figures of this installation "
            "until they pass"
        )
    terminal.say("All checks passed.")


def _checks(device: "torch.device", every: bool) -> dict[str, Callable[[], Iterator]]:
    """Return the checks by name; the first ones take no time."""
    from eval.doctor import networks, parts
    from eval.run.environment import device_name

    return {
        "device": partial(parts.note_device, device, device_name(device)),
        "versions": parts.note_versions,
        "optional parts": parts.note_optional,
        "sandbox": _sandbox,
        "PNG files": parts.check_files,
        "bicubic": parts.check_bicubic,
        "metrics": parts.check_metrics,
        "clock": partial(parts.check_clock, device),
        "weights": parts.check_weights,
        "networks": partial(networks.check_networks, device, every),
    }


def _sandbox() -> Iterator:
    """Say whether third-party code can be kept apart here, and what stays open."""
    from eval.doctor.findings import noted
    from eval.third_party.kinds import choose_sandbox, openings

    try:
        kind = choose_sandbox(None)
        yield noted("sandbox", f"{kind} works")
        yield from (noted("sandbox", opening) for opening in openings(kind))
    except UsageError as error:
        yield noted("sandbox", str(error))
