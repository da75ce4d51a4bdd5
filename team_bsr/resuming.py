"""Whether the run that a folder holds is the one that is asked for, so that it may be gone on with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from eval.errors import RunError, UsageError
from team_bsr.checkpoint import checkpoints, load_checkpoint
from team_bsr.plan import Plan, Run
from team_bsr.recipe import checked_step


class TrainingError(RunError):
    """Training cannot go on; the message says at which iteration, and from which checkpoint it can be resumed."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let no other process train in a run's folder meanwhile: both would write, and delete, the same checkpoints.

    Raises:
        UsageError: one does already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise UsageError(f"{folder}: another training runs there; use a new --run_dir, or wait for its end") from error


def newest_state(run: Run, plan: Plan) -> dict[str, Any] | None:
    """Return the state of the folder's newest checkpoint, once it is known to be of this run as far as it has come.

    Raises:
        TrainingError: it is of a run of another plan, on other images or from another start.
    """
    # Hashed before anything is written: a run may overwrite or rotate away what it starts from.
    start, found = run.start_sha256, checkpoints(run.folder)
    if not found:
        return None
    state = load_checkpoint(found[-1])
    if state["images"] != run.pairs.crc32:
        raise TrainingError(f"{found[-1]} is of a run on other images; use a new --run_dir, or that run's --data")
    # Older checkpoints do not say what their run started from.
    if "start" in state and state["start"] != start:
        raise TrainingError(
            f"{found[-1]} is of a run with another --start: it began from {_weights(state['start'])}, now --start is "
            f"{run.start or 'left out'}, {_weights(start)}; use a new --run_dir, or that run's --start"
        )
    before, now = _until(state["plan"], state["step"], found[-1]), _until(asdict(plan), state["step"], found[-1])
    for name, value in before.items():
        if value != now[name]:
            raise TrainingError(
                f"{found[-1]} is of a run with another plan: {name} was {value}, now is {now[name]}; use a new "
                f"--run_dir, or the options of that run"
            )
    return state


def last_good(folder: Path) -> str:
    """Say which checkpoint of a run is the last one."""
    found = checkpoints(folder)
    return f"the last good checkpoint is {found[-1]}" if found else "no checkpoint was written before"


def _weights(sha256: str | None) -> str:
    return "random weights" if sha256 is None else f"a file of SHA-256 {sha256}"


def _until(plan: dict[str, Any], number: int, file: Path) -> dict[str, Any]:
    """Return a plan's values by name, without those of the steps after step ``number``, which may still change.

    What an older checkpoint does not say of a step was as its default.
    """
    try:
        steps = [checked_step(f"step {its['number']}: ", its) for its in plan["steps"] if its["number"] <= number]
    except UsageError as error:
        raise TrainingError(
            f"{file} is of a run whose plan is refused today: {error}; use a new --run_dir, where --start {file} goes "
            "on from its weights"
        ) from error
    values = {f"step {its.number}: {key}": value for its in steps for key, value in asdict(its).items()}
    return {**plan, "steps": ", ".join(str(its.number) for its in steps) or "none", **values}
