"""The same tasks on a Ray cluster: one task a model and set, resources declared, lost nodes made up for."""

import socket
from collections.abc import Iterator, Sequence
from typing import Any

from eval.errors import UsageError, one_reason
from eval.files import PROJECT
from eval.records.record import Record
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
    if address is not None:
        _check(address)
    try:
        ray.init(address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": str(PROJECT)}})
        remote = ray.remote(max_retries=_RETRIES)(_carry_out)
        waiting = {remote.options(**_resources(task)).remote(task): task for task in tasks}
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            task = waiting.pop(done)
            yield task, _record(ray, done, task)
    finally:
        ray.shutdown()


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
    """Carry out a task on a node; what comes home is the record as it would be written."""
    return carry_out_quietly(task).model_dump_json()


def _record(ray: Any, done: Any, task: EvaluationTask) -> Record:
    try:
        return Record.model_validate_json(ray.get(done))
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        return lost(task, f"its Ray worker died {_RETRIES + 1} times: {type(error).__name__}")
    except ray.exceptions.RayError as error:
        return lost(task, f"its Ray task failed: {one_reason(error)}")


def _resources(task: EvaluationTask) -> dict[str, Any]:
    gpus = int(task.config.device.startswith("cuda"))
    return {"num_cpus": task.config.threads or 1, "num_gpus": gpus, "name": task.model.info.label}
