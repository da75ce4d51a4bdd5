"""Our side of a comparison, in a process of its own: models over one set, as ``python -m eval run`` does it.

``python -m bench.our_side --dataset Urban100 --models 3 --engine compiled --precision bf16 --ssim`` prints JSON.
"""

import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from eval.run.loaded_model import Examination, Subject

from eval.cli.flags import DataDir, parse_tile, split
from eval.cli.program import run_program
from eval.data.datasets import Dataset, open_dataset
from eval.data.pairs import ImagePair
from eval.device.memory import freeze_imports, keep_freed_memory
from eval.inference.engines.registry import Execution
from eval.records.record import Protocol
from eval.run import runner
from eval.run.model_source import Placement, zoo_model
from eval.run.runner import Job, run
from eval.run.tasks import largest_lr
from eval.zoo.manifest import find_model


@dataclass
class Clocked:
    """A subject that adds up the time of its network and of its whole calls."""

    subject: Subject
    network_s: float = 0.0
    whole_s: float = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def __call__(self, lr: Any) -> tuple[Any, float]:
        """Run the subject."""
        start = time.perf_counter()
        sr, runtime_ms = self.subject(lr)
        self.whole_s += time.perf_counter() - start
        self.network_s += runtime_ms / 1e3
        return sr, runtime_ms


@dataclass
class StageClock:
    """Adds up the time of functions, to tell what a serial run spends besides them."""

    spent_s: dict[str, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """The time of all functions."""
        return sum(self.spent_s.values())

    def clocked(self, name: str, function: Callable) -> Callable:
        """Return the function, timed under a name."""

        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            self.spent_s[name] = self.spent_s.get(name, 0.0) + time.perf_counter() - start
            return result

        return call


@contextmanager
def clocked_stages() -> Iterator[StageClock]:
    """Time decoding, metrics and encoding of a serial run while the block runs."""
    clock, kept = StageClock(), (ImagePair.read, runner.psnr, runner.ssim, runner.write_png)
    ImagePair.read = clock.clocked("decode", ImagePair.read)
    runner.psnr = clock.clocked("metrics", runner.psnr)
    runner.ssim = clock.clocked("metrics", runner.ssim)
    runner.write_png = clock.clocked("encode", runner.write_png)
    try:
        yield clock
    finally:
        ImagePair.read, runner.psnr, runner.ssim, runner.write_png = kept


def measure(
    data_dir: DataDir = None,
    dataset: Annotated[str | None, typer.Option(help="Set of images.")] = None,
    models: Annotated[str, typer.Option(help="Ids or names, with commas.")] = "3",
    engine: Annotated[str, typer.Option()] = "eager",
    precision: Annotated[str, typer.Option()] = "fp32",
    ssim: Annotated[bool, typer.Option("--ssim")] = False,
    save: Annotated[bool, typer.Option("--save", help="Write SR images.")] = False,
    workers: Annotated[int, typer.Option(help="Threads beside the network; 0 also times the stages.")] = 2,
    tile: Annotated[str, typer.Option()] = "auto",
) -> None:
    """Print JSON: seconds of each part, PSNR by image and model, and the peak resident set of this process."""
    keep_freed_memory()
    freeze_imports()
    start = time.perf_counter()
    images = open_dataset(data_dir, dataset)
    check_s = time.perf_counter() - start
    placement = Placement("cpu", parse_tile(tile), execution=Execution(engine, precision), workers=workers)
    with tempfile.TemporaryDirectory() as folder, clocked_stages() as clock:
        how = partial(_pass, images=images, placement=placement, ssim=ssim, folder=Path(folder) if save else None)
        passes = [how(model, clock) for model in split(models)]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    stages_s = clock.spent_s if workers == 0 else {}
    typer.echo(json.dumps({"check_s": check_s, "passes": passes, "stages_s": stages_s, "peak_mib": peak_mib}))


def _pass(
    model: str, clock: StageClock, *, images: Dataset, placement: Placement, ssim: bool, folder: Path | None
) -> dict[str, Any]:
    start = time.perf_counter()
    with zoo_model(find_model(model)).open(placement, largest_lr(images)) as subject:
        prepare_s, clocked = time.perf_counter() - start, Clocked(subject)
        start = time.perf_counter()
        job = Job(clocked, images, Protocol.ACCURACY, ssim, folder, Examination(), placement.workers)
        marks: list[tuple[float, float]] = []
        record = run(job, lambda _result: marks.append((time.perf_counter(), clocked.whole_s + clock.total_s)))
        wall_s = time.perf_counter() - start
        return {
            "model": model,
            "engine": subject.execution.engine,
            "status": record.reason or record.status,
            "prepare_s": prepare_s,
            "wall_s": wall_s,
            "network_s": clocked.network_s,
            "whole_s": clocked.whole_s,
            "images": len(record.images),
            "outside_ms": _outside_ms(marks),
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
