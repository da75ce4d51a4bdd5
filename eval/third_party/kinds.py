"""Which sandboxes there are, whether they work here, and what they leave open on this machine."""

import shutil
import sys
from enum import StrEnum

from eval.errors import UsageError
from eval.third_party import bubblewrap, cgroups, guard, system_calls


class SandboxKind(StrEnum):
    """How a third-party program is kept apart: by bubblewrap, or hardly at all."""

    BUBBLEWRAP = "bubblewrap"
    NONE = "none"


def choose_sandbox(asked: str | None) -> SandboxKind:
    """Return the sandbox to use, ``asked`` being what --sandbox says (None: bubblewrap).

    Raises:
        UsageError: there is no such sandbox, or bubblewrap does not work here.
    """
    try:
        kind = SandboxKind(asked or SandboxKind.BUBBLEWRAP)
    except ValueError:
        raise UsageError(f"--sandbox {asked}: expected {' or '.join(SandboxKind)}") from None
    if sys.platform == "win32":
        raise UsageError(
            "third-party code is started, watched and ended by means of Linux; on Windows run this in WSL, also with"
            " --sandbox none"
        )
    if kind is SandboxKind.BUBBLEWRAP and (fault := bubblewrap.fault()):
        raise UsageError(
            f"third-party code runs in bubblewrap 0.8 or newer, which does not work here: {fault.rstrip('.')}; "
            f"{bubblewrap.remedy(fault)} (docs/submissions.md has the flags for containers and clusters), or give"
            " --sandbox none: then their code has your full permissions for your files, network and processes"
        )
    return kind


def openings(kind: SandboxKind) -> list[str]:
    """Return what a sandbox leaves open here that it would hold elsewhere, a sentence each."""
    found = []
    if not guard.sees_processes():
        found.append(
            "this system does not show a program's processes: no limit of memory or of processes holds for third-party"
            " code, and it is not stopped while others are timed"
        )
    if kind is SandboxKind.NONE:
        return found
    if fault := system_calls.fault():
        found.append(
            f"no filter of system calls: {fault}; third-party code can read the keys of your session (keyctl), choose"
            " its own processors, and reach more of the kernel"
        )
    if shutil.which("taskset") is None:
        found.append("no taskset (apt install util-linux): third-party code can use more processors than --threads")
    if fault := cgroups.fault():
        found.append(f"no control groups ({fault}): memory and processes are counted ten times a second instead")
    return found
