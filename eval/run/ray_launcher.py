"""The same tasks on a Ray cluster: one task a model and set, resources declared, lost nodes made up for."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from eval.device.placing import pick_device
from eval.errors import UsageError, one_reason
from eval.files import PROJECT
from eval.records.record import Record
from eval.run.keys import Machine, machine
from eval.run.processes import carry_out_quietly
from eval.run.tasks import EvaluationTask, lost

_RETRIES = 2
_ANSWER_S = 5


def carry_out_on_ray(tasks: Sequence[EvaluationTask], address: str | None) -> Iterator[tuple[EvaluationTask, Record]]:
    """Carry out tasks on a cluster, or with ``address=None`` on a Ray of this machine; yields each as it is done.

    A task asks for its threads as CPUs, and for a GPU if it runs on one. One whose worker or node dies is tried twice
    more elsewhere; then its record says so. Files are read where they lie: every node must see the project, the
    checkouts, the images and the folder for SR images at the same paths.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _ray()
    with _joined(ray, address):
        # Ray would give a process one task after another: none would be cold, and one dead device end them all.
        remote = ray.remote(max_retries=_RETRIES, max_calls=1)(_carry_out)
        waiting = {remote.options(**_resources(task)).remote(task): task for task in tasks}
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            task = waiting.pop(done)
            yield task, _record(ray, done, task)


@dataclass(frozen=True)
class Node:
    """A machine that carries tasks out: the device that is used there, and what it is, as ``keys.machine`` has it."""

    device: str
    machine: Machine


def node_of(device: str, address: str | None) -> Node:
    """Ask a node of a cluster what a device is there: the one that runs this command may have no GPU.

    "auto" is a GPU where the cluster has one; the address None is a Ray of this machine.

    Raises:
        UsageError: Ray is not installed, there is no cluster, or it has no such device.
    """
    ray = _ray()
    with _joined(ray, address):
        gpus = ray.cluster_resources().get("GPU", 0)
        if device.startswith("cuda") and not gpus:
            raise UsageError(f"--device {device}: not available; no node of the cluster has a GPU")
        on_gpu = bool(gpus) and device != "cpu"
        look = ray.remote(max_retries=_RETRIES)(_look).options(num_cpus=1, num_gpus=int(on_gpu))
        try:
            return ray.get(look.remote("cuda" if on_gpu else device))
        except ray.exceptions.RayError as error:
            raise UsageError(
                f"--device {device}: a node of the cluster could not use it: {one_reason(error)}"
            ) from error


@contextmanager
def _joined(ray: Any, address: str | None) -> Iterator[None]:
    if address is not None:
        _check(address)
    try:
        ray.init(address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": str(PROJECT)}})
        yield
    finally:
        ray.shutdown()


def _look(device: str) -> Node:
    found = str(pick_device(device))
    return Node(found, machine(found))


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports] of an extra
    except ImportError as error:
        raise UsageError("--launcher ray: Ray is not installed; pip install -e '.[cluster]'") from error
    return ray


def _check(address: str) -> None:
    """Refuse an address that nobody answers at: Ray itself would try for minutes, and then end this process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(f"--ray_address {address}: no Ray cluster answers there ({error}); give HOST:PORT") from error


def _carry_out(task: EvaluationTask) -> str:
    """Carry out a task on a node; what comes home is the record as it would be written, with the node in its key."""
    return carry_out_quietly(replace(task, machine=None)).model_dump_json()


def _record(ray: Any, done: Any, task: EvaluationTask) -> Record:
    try:
        return Record.model_validate_json(ray.get(done))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        return _lost(task, f"its Ray worker died {_RETRIES + 1} times: {type(error).__name__}")
    except ray.exceptions.RayError as error:
        return _lost(task, f"its Ray task failed: {one_reason(error)}")


def _lost(task: EvaluationTask, reason: str) -> Record:
    """Return the record of a task that did not come home, of the GPU and the CPU beside it that it was to have."""
    record = lost(task, reason)
    if task.machine is None or not task.config.device.startswith("cuda"):
        return record
    there = {"gpu": task.machine.parts[0], "cpu": task.machine.host}
    return record.model_copy(update={"environment": record.environment.model_copy(update=there)})


def _resources(task: EvaluationTask) -> dict[str, Any]:
    gpus = int(task.config.device.startswith("cuda"))
    return {"num_cpus": task.config.threads or 1, "num_gpus": gpus, "name": task.model.info.label}
