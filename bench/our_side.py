"""Our side of a comparison, in a process of its own: models over one set, as ``python -m eval run`` does it.

``python -m bench.our_side --dataset Urban100 --models 3 --engine compiled --precision bf16 --ssim`` prints JSON.
"""

import json
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import typer

from eval.cli.flags import DataDir
from eval.cli.program import run_program
from eval.config import Protocol, RunConfig, split
from eval.data.datasets import Dataset, open_dataset
from eval.data.pairs import ImagePair
from eval.device.memory import freeze_imports, keep_freed_memory
from eval.inference.upscaler import Upscaler
from eval.metrics.figures import ModelAnalysis
from eval.metrics.registry import Metric
from eval.run import runner
from eval.run.launch import resolved
from eval.run.model_source import zoo_model
from eval.run.runner import run
from eval.run.tasks import EvaluationTask, largest_lr
from eval.zoo.manifest import find_model

CALLS = "calls"


@dataclass
class StageClock:
    """Adds up the time of functions, over all threads that call them; and that of the networks themselves."""

    spent_s: dict[str, float] = field(default_factory=dict)
    network_s: float = 0.0
    lock: Any = field(default_factory=threading.Lock)

    @property
    def total_s(self) -> float:
        """The time of all functions."""
        return sum(self.spent_s.values())

    def clocked(self, name: str, function: Callable) -> Callable:
        """Return the function, timed under a name."""

        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            with self.lock:
                self.spent_s[name] = self.spent_s.get(name, 0.0) + time.perf_counter() - start
                self.network_s += result[1] / 1e3 if name == CALLS else 0.0
            return result

        return call


@contextmanager
def clocked_stages() -> Iterator[StageClock]:
    """Time calls of the model, decoding, metrics and encoding while the block runs."""
    stages = ((Upscaler, "__call__", CALLS), (ImagePair, "read", "decode"))
    stages += ((Metric, "compute", "metrics"), (runner, "write_png", "encode"))
    clock = StageClock()
    with ExitStack() as stack:
        for owner, function, name in stages:
            stack.enter_context(patch.object(owner, function, clock.clocked(name, getattr(owner, function))))
        yield clock


def measure(
    data_dir: DataDir = None,
    dataset: Annotated[str | None, typer.Option(help="Set of images.")] = None,
    models: Annotated[str, typer.Option(help="Ids or names, with commas.")] = "3",
    engine: Annotated[str, typer.Option()] = "eager",
    precision: Annotated[str, typer.Option()] = "fp32",
    ssim: Annotated[bool, typer.Option("--ssim")] = False,
    save: Annotated[bool, typer.Option("--save", help="Write SR images.")] = False,
    streams: Annotated[int | None, typer.Option(help="Images at once; as many as threads by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads beside one network; 0 also times the stages.")] = None,
    tile: Annotated[str, typer.Option()] = "auto",
    protocol: Annotated[str, typer.Option()] = "accuracy",
    device: Annotated[str, typer.Option()] = "cpu",
) -> None:
    """Print JSON: seconds of each part, PSNR by image and model, and the peak resident set of this process."""
    keep_freed_memory()
    freeze_imports()
    start = time.perf_counter()
    images = open_dataset(data_dir, dataset)
    check_s = time.perf_counter() - start
    metrics = ("psnr", "ssim") if ssim else ("psnr",)
    how = {"engine": engine, "precision": precision, "tile": tile, "metrics": metrics}
    how |= {"streams": streams, "workers": workers}
    config = resolved(RunConfig(protocol=Protocol(protocol), device=device, **how))
    with tempfile.TemporaryDirectory() as folder, clocked_stages() as clock:
        passes = [_pass(model, clock, images, config, Path(folder) if save else None) for model in split(models)]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    stages_s = clock.spent_s if workers == 0 else {}
    typer.echo(json.dumps({"check_s": check_s, "passes": passes, "stages_s": stages_s, "peak_mib": peak_mib}))


def _pass(model: str, clock: StageClock, images: Dataset, config: RunConfig, folder: Path | None) -> dict[str, Any]:
    source, start = zoo_model(find_model(model)), time.perf_counter()
    with source.open(config, largest_lr(images)) as loaded:
        prepare_s = time.perf_counter() - start
        before = clock.spent_s.get(CALLS, 0.0), clock.network_s
        start = time.perf_counter()
        task = EvaluationTask(source, images, config, folder, ModelAnalysis())
        marks: list[tuple[float, float]] = []
        record = run(task, loaded, lambda _result: marks.append((time.perf_counter(), clock.total_s)))
        wall_s = time.perf_counter() - start
        return {
            "model": model,
            "engine": loaded.execution.engine,
            "status": record.reason or record.status,
            "prepare_s": prepare_s,
            "wall_s": wall_s,
            "network_s": clock.network_s - before[1],
            "whole_s": clock.spent_s.get(CALLS, 0.0) - before[0],
            "streams": record.settings.streams,
            "images": len(record.images),
            "outside_ms": _outside_ms(marks),
            "runtime_ms": [image.runtime_ms for image in record.images],
            "psnr_db": [image.psnr_db for image in record.images],
            "ssim": [image.ssim for image in record.images],
        }


def _outside_ms(marks: list[tuple[float, float]]) -> float | None:
    """Return the time between images of a serial run that no stage accounts for, in ms an image."""
    if len(marks) < 2:
        return None
    (start, spent_before), (end, spent_after) = marks[0], marks[-1]
    return ((end - start) - (spent_after - spent_before)) * 1e3 / (len(marks) - 1)


if __name__ == "__main__":
    run_program(measure)
