"""Carrying out a task in this process, giving a record. Knows no team and prints nothing."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from statistics import fmean

import numpy as np
import torch

from eval.data.datasets import Dataset
from eval.data.images import write_png
from eval.data.pairs import ImagePair
from eval.device.memory import PeakMemory
from eval.device.numerics import cudnn_switches
from eval.device.placing import threads_set
from eval.inference.engines.registry import ENGINES
from eval.inference.upscaler import Upscaler
from eval.metrics.figures import Flag
from eval.metrics.registry import Metric, find_metrics
from eval.records.record import ImageResult, Mean, Record, State, means_of
from eval.run.compiling import timed_beside
from eval.run.environment import commit, machine_state
from eval.run.failures import CannotRunError, Ending, failure_of
from eval.run.interrupts import hold_ctrl_c
from eval.run.keys import measuring_sha256
from eval.run.model_source import LoadedModel
from eval.run.pipeline import Stages, run_stages
from eval.run.plausible import implausible
from eval.run.streams import in_streams, streams_of
from eval.run.tasks import EvaluationTask, TaskRun, failed, largest_lr, record_of
from eval.timing.interference import all_disturbed
from eval.timing.outputs import differing_psnr
from eval.timing.samples import Timing
from eval.zoo.model_info import IN_MEMORY, ZOO

# HR and SR of an image, 3 bytes for each of 16 pixels.
_BYTES_PER_LR_PIXEL = 2 * 3 * 16
_WAITING_BYTES = 256 * 2**20


def carry_out_once(task: EvaluationTask, on_image: Callable[[ImageResult], None]) -> Record:
    """Carry out a task once, in this process; whatever fails is a record."""
    # Asked for now: they are remembered as they were before anything ran.
    commit()
    measuring_sha256()
    started_at, started = datetime.now(UTC), time.perf_counter()
    with threads_set(task.config.threads):
        try:
            with task.model.open(task.config, largest_lr(task.dataset)) as model:
                return run(task, model, on_image, ready_s=time.perf_counter() - started)
        except Exception as error:
            hold_ctrl_c()
            return failed(task, started_at, error)


def run(
    task: EvaluationTask, model: LoadedModel, on_image: Callable[[ImageResult], None], *, ready_s: float | None = None
) -> Record:
    """Run a loaded model over a task's images and return the record, complete or not.

    An interrupt (ctrl-C) or an error of any kind ends the run; what was finished by then is in the record, with the
    reason. From then on an interrupt waits, as ``ctrl_c_after_keeping`` has it. ``on_image`` is called after each
    image; ``ready_s`` is how long the model took to be opened.
    """
    ran = TaskRun(datetime.now(UTC), machine_state(model.device), streams_of(task, model))
    with cudnn_switches(bool(task.config.tf32)):
        try:
            with model.on_device():
                apart = _measured_apart(task, model)
                watched = nullcontext() if apart else model.peak_memory()
                with watched as ran.memory, closing(_results(task, model, ran.streams)) as results:
                    for result in results:
                        ran.images.append(result)
                        on_image(result)
                # The images are done: an error here would cost them.
                if apart:
                    with suppress(Exception):
                        ran.memory = _peak_of_the_largest(task, model)
                # Of the images alone: to analyse a submission gives it more of them.
                ran.flags = (*model.run_flags, *_implausible(task, ran))
                # After the images, as in the template: before them it would warm the network up.
                ran.analysis = task.analysis or model.analyse()
                if ready_s is not None:
                    # All figures are there; an error here would cost a note.
                    with suppress(Exception):
                        ran.compiled = timed_beside(task, model, ready_s)
            hold_ctrl_c()
        except KeyboardInterrupt:
            hold_ctrl_c()
            reason = f"interrupted after {len(ran.images)} of {len(task.dataset.pairs)} images"
            ran.ending = Ending("interrupted", reason=reason)
        except Exception as error:
            hold_ctrl_c()
            ran.ending = _failure(error, task.dataset.pairs[len(ran.images) :])
        return record_of(task, model, ran)


def _measured_apart(task: EvaluationTask, model: LoadedModel) -> bool:
    """Tell whether memory is that of the largest image once more, alone: beside the images other work takes some.

    Not of what is timed, as in the template; nor of tiles, which take long; nor of a process that has no other work.
    """
    if task.config.is_timed:
        return False
    return model.device.type != "cpu" or (model.tiling is None and not model.processes)


def _peak_of_the_largest(task: EvaluationTask, model: LoadedModel) -> PeakMemory:
    if isinstance(model, Upscaler) and ENGINES[model.execution.engine].records:
        return PeakMemory(f"not taken: {model.execution.engine} keeps memory for each size that it has recorded")
    largest = task.dataset.lr_sizes.index(largest_lr(task.dataset))
    lr, _ = task.dataset.pairs[largest].read()
    with model.peak_memory() as peak:
        model(lr)
    return replace(peak, method=peak.method.replace("the set", "the set's largest image, run once more alone"))


def _implausible(task: EvaluationTask, ran: TaskRun) -> Iterable[Flag]:
    """Flag figures of third-party code that are too good; those of our own need no such question."""
    return () if task.model.info.origin in (ZOO, IN_MEMORY) else implausible(task.dataset.pairs, ran.images)


def averaged(records: Sequence[Record]) -> Record:
    """Return the first of several complete runs of a task, with each image's mean time over all of them."""
    images = tuple(
        first.model_copy(update={"runtime_ms": fmean(image.runtime_ms for image in (first, *others))})
        for first, *others in zip(*(record.images for record in records), strict=True)
    )
    settings = records[0].settings.model_copy(update={"runs": len(records)})
    changed = {"images": images, "means": means_of(images), "settings": settings}
    return records[0].model_copy(update={**changed, "finished_at": records[-1].finished_at})


def with_timing(record: Record, timing: Timing) -> Record:
    """Return a record with the speed pass in it; its mean runtime is that over images of the median over rounds.

    A record of which every sample was disturbed is failed.
    """
    medians = timing.medians_ms().values()
    judged_db = {image.name: image.psnr_db for image in record.images if image.psnr_db is not None}
    differs = differing_psnr(timing.psnr_db, judged_db)
    flags = (*record.flags, *timing.flags, *([differs] if differs else []))
    changed = {"timing": timing, "finished_at": datetime.now(UTC), "flags": flags}
    if medians:
        changed["means"] = {**record.means, "runtime_ms": Mean(mean=fmean(medians), count=len(medians))}
    else:
        changed |= {"status": "failed", "state": State.FAILED_TO_RUN, "reason": all_disturbed(timing.dropped)}
    return record.model_copy(update=changed)


def as_failed(record: Record, error: BaseException) -> Record:
    """Return a record of which something failed after its images were done, as while it was timed."""
    ending = failure_of(error.__cause__ or error)
    return record.model_copy(update=ending._replace(reason=f"while it was timed: {ending.reason}")._asdict())


def _results(task: EvaluationTask, model: LoadedModel, streams: int) -> Generator[ImageResult, None, None]:
    """Yield each image's result in order; only untimed runs overlap anything with the network."""
    finish = partial(_finish, task, find_metrics(task.config.metrics))
    if streams > 1 and isinstance(model, Upscaler):
        return in_streams(task, model, streams, task.dataset.pairs, partial(_whole, finish))
    stages = Stages(lambda pair: pair.read(), lambda images: model(images[0]), finish)
    workers = 0 if task.config.is_timed else task.config.workers or 0
    return run_stages(task.dataset.pairs, stages, workers, _depth(task.dataset, workers))


def _whole(finish: Callable[..., ImageResult], pair: ImagePair, network: Upscaler) -> ImageResult:
    images = pair.read()
    return finish(pair, images, network(images[0]))


def _depth(dataset: Dataset, workers: int) -> int:
    """Return how many images may wait on either side of the network: one more than threads, if memory is bounded."""
    largest = max(size.height * size.width for size in dataset.lr_sizes) * _BYTES_PER_LR_PIXEL
    return max(1, min(workers + 1, _WAITING_BYTES // (2 * largest)))


def _finish(
    task: EvaluationTask,
    metrics: Sequence[Metric],
    pair: ImagePair,
    images: tuple[np.ndarray, np.ndarray | None],
    out: tuple,
) -> ImageResult:
    (lr, hr), (sr, runtime_ms) = images, out
    # Beside a timed network the GPU does nothing else; what is not timed is measured where the network ran.
    device = None if task.config.is_timed else torch.device(task.config.device)
    figures = {}
    for metric in metrics:
        try:
            figures[metric.key] = metric.compute(sr, hr, lr, device)
        except Exception as error:
            what = failure_of(error)
            reason = f"metric {metric.title} ({metric.function_on(device)}): {what.reason}"
            raise CannotRunError(what.state, reason, what.traceback) from error
    height, width, _ = lr.shape
    taken_ms = runtime_ms if task.config.is_timed else None
    result = ImageResult(name=pair.name, lr_height=height, lr_width=width, runtime_ms=taken_ms, **figures)
    if task.images_dir is not None:
        write_png(task.images_dir / f"{pair.name}.png", sr)
    return result


def _failure(error: BaseException, remaining: Sequence[ImagePair]) -> Ending:
    ending = failure_of(error)
    at = f"at image {remaining[0].name}: " if remaining else ""
    return ending._replace(reason=f"{at}{ending.reason}")
