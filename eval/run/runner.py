"""One model over one set, giving a record. Knows no team and prints nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch

from eval.data.datasets import Dataset
from eval.data.images import write_png
from eval.data.pairs import ImagePair
from eval.metrics.psnr_ssim import psnr, ssim
from eval.records.record import DatasetInfo, ImageResult, Mean, Protocol, Record, Settings, State, means_of
from eval.run.environment import describe_environment, machine_state
from eval.run.loaded_model import Examination, Subject, failure_of
from eval.run.pipeline import Overlap, Stages, run_stages
from eval.timing.interference import all_disturbed
from eval.timing.samples import Timing

# HR and SR of an image, 3 bytes for each of 16 pixels.
_BYTES_PER_LR_PIXEL = 2 * 3 * 16
_WAITING_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Job:
    """One model on one set, and how to run it.

    Attributes:
        images_dir: where SR images are written as PNG, or None to write none.
        with_ssim: also take SSIM where there is HR.
        examined: what is known of the network already; None to find it out.
        workers: threads for decoding, metrics and writing beside the network; 0 for none. Never beside a timed one.
    """

    subject: Subject
    dataset: Dataset
    protocol: Protocol
    with_ssim: bool
    images_dir: Path | None
    examined: Examination | None = None
    workers: int = 2


def run(job: Job, on_image: Callable[[ImageResult], None]) -> Record:
    """Run a job and return its record, complete or not.

    An interrupt (ctrl-C) or an error of any kind ends the run; what was finished by then is in the record, with the
    reason. ``on_image`` is called after each image.
    """
    subject = job.subject
    started_at, before = datetime.now(UTC), machine_state(subject.device)
    images: list[ImageResult] = []
    examined, memory, ending = Examination(), None, {"status": "complete"}
    with numeric_switches(job.protocol):
        try:
            with subject.on_device():
                with subject.peak_memory() as memory, closing(_results(job)) as results:
                    for result in results:
                        images.append(result)
                        on_image(result)
                # After the images, as in the template: before them it would warm the network up.
                examined = job.examined or subject.examine()
        except KeyboardInterrupt:
            reason = f"interrupted after {len(images)} of {len(job.dataset.pairs)} images"
            ending = {"status": "interrupted", "reason": reason}
        except Exception as error:
            ending = _failure(error, job.dataset.pairs[len(images) :])
        environment = describe_environment(subject.device)
    return Record(
        **ending,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        model=subject.info,
        dataset=dataset_info(job.dataset),
        settings=_settings(job),
        images=tuple(images),
        means=means_of(images),
        complexity=examined.complexity,
        peak_memory_mib=memory and memory.mib,
        peak_memory_method=memory and memory.method,
        flags=examined.flags,
        environment=environment,
        before=before,
        after=machine_state(subject.device),
    )


def averaged(records: Sequence[Record]) -> Record:
    """Return the first of several complete runs of a job, with each image's mean time over all of them."""
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
    medians = [median(kept) for row in timing.samples_ms if (kept := [ms for ms in row if ms is not None])]
    changed = {"timing": timing, "finished_at": datetime.now(UTC)}
    if medians:
        changed["means"] = {**record.means, "runtime_ms": Mean(mean=fmean(medians), count=len(medians))}
    else:
        changed |= {"status": "failed", "state": State.FAILED_TO_RUN, "reason": all_disturbed(timing.dropped)}
    return record.model_copy(update=changed)


def as_failed(record: Record, error: BaseException) -> Record:
    """Return a record of which something failed after its images were done, as while it was timed."""
    ending = failure_of(error.__cause__ or error)
    return record.model_copy(update={**ending, "reason": f"while it was timed: {ending['reason']}"})


@contextmanager
def numeric_switches(protocol: Protocol) -> Iterator[None]:
    """Set what the protocol says of cuDNN, and restore it.

    The template turns cudnn.benchmark off and leaves TF32 as torch ships it; figures of accuracy are taken in full
    float32.
    """
    tf32 = torch.backends.cudnn.allow_tf32 and protocol is Protocol.OFFICIAL
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=tf32):
        yield


def _results(job: Job) -> Iterator[ImageResult]:
    """Yield each image's result in order; only untimed runs overlap anything with the network."""
    stages = Stages(ImagePair.read, lambda images: job.subject(images[0]), partial(_finish, job))
    workers = _workers(job)
    return run_stages(job.dataset.pairs, stages, Overlap(workers, _depth(job.dataset, workers)))


def _workers(job: Job) -> int:
    """Return how many threads work beside the network: none beside a timed one."""
    return 0 if job.protocol is Protocol.OFFICIAL else job.workers


def _depth(dataset: Dataset, workers: int) -> int:
    """Return how many images may wait on either side of the network: one more than threads, if memory is bounded."""
    largest = max(size.height * size.width for size in dataset.lr_sizes) * _BYTES_PER_LR_PIXEL
    return max(1, min(workers + 1, _WAITING_BYTES // (2 * largest)))


def _finish(job: Job, pair: ImagePair, images: tuple[np.ndarray, np.ndarray | None], out: tuple) -> ImageResult:
    (lr, hr), (sr, runtime_ms) = images, out
    result = ImageResult(
        name=pair.name,
        lr_height=lr.shape[0],
        lr_width=lr.shape[1],
        psnr_db=None if hr is None else psnr(sr, hr),
        ssim=ssim(sr, hr) if job.with_ssim and hr is not None else None,
        runtime_ms=runtime_ms if job.protocol is Protocol.OFFICIAL else None,
    )
    if job.images_dir is not None:
        write_png(job.images_dir / f"{pair.name}.png", sr)
    return result


def _failure(error: BaseException, remaining: tuple[ImagePair, ...]) -> dict[str, str | None]:
    ending = failure_of(error)
    at = f"at image {remaining[0].name}: " if remaining else ""
    return {**ending, "reason": f"{at}{ending['reason']}"}


def dataset_info(dataset: Dataset) -> DatasetInfo:
    """Return what a record says of a set."""
    return DatasetInfo(
        name=dataset.name,
        layout=dataset.layout,
        folder=str(dataset.folder),
        num_images=len(dataset.pairs),
        sha256=dataset.sha256,
    )


def _settings(job: Job) -> Settings:
    tiling = job.subject.tiling
    execution = job.subject.execution
    return Settings(
        protocol=job.protocol,
        device=str(job.subject.device),
        tile=tiling and tiling.tile,
        tile_overlap=tiling and tiling.shared,
        engine=execution.engine,
        precision=execution.precision,
        memory_format=execution.memory_format,
        left_out=execution.left_out,
        workers=_workers(job),
    )
