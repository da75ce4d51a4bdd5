"""One model over one set, giving a record. Knows no team and prints nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median

import torch
from torch import nn

from eval.checkpoints import Checkpoint
from eval.complexity import complexity_flags, measure_complexity
from eval.datasets import Dataset
from eval.environment import describe_environment, machine_state
from eval.images import ImageError, write_png
from eval.inference import Upscaler
from eval.inspection import inspect
from eval.memory import peak_memory
from eval.metrics import psnr, ssim
from eval.pairs import ImagePair
from eval.record import (
    DatasetInfo,
    Flag,
    ImageResult,
    Mean,
    ModelInfo,
    Protocol,
    Record,
    Settings,
    Timing,
    means_of,
)
from eval.tiling import Tiling
from eval.zoo import ModelSpec


@dataclass(frozen=True)
class Job:
    """One model on one set, and how to run it.

    Attributes:
        images_dir: where SR images are written as PNG, or None to write none.
        with_ssim: also take SSIM where there is HR.
    """

    spec: ModelSpec
    checkpoint: Checkpoint | None
    network: nn.Module
    dataset: Dataset
    device: torch.device
    protocol: Protocol
    tiling: Tiling | None
    with_ssim: bool
    images_dir: Path | None


def run(job: Job, on_image: Callable[[ImageResult], None]) -> Record:
    """Run a job and return its record, complete or not.

    An interrupt (ctrl-C), an image or an output that cannot be used, a full disk or exhausted memory end the run;
    what was finished by then is in the record, with the reason. ``on_image`` is called after each image.
    """
    started_at, before = datetime.now(UTC), machine_state(job.device)
    images: list[ImageResult] = []
    complexity, memory, ending = None, None, ("complete", None)
    flags: list[Flag] = []
    with numeric_switches(job.protocol):
        try:
            job.network.to(job.device)
            with peak_memory(job.device) as memory:
                for result in _results(job):
                    images.append(result)
                    on_image(result)
            # After the images, as in the template: before them it would warm the network up.
            if job.checkpoint:
                complexity = measure_complexity(job.network)
                flags = [*complexity_flags(complexity), *inspect(job.network, job.spec.data_range)]
        except KeyboardInterrupt:
            ending = ("interrupted", f"interrupted after {len(images)} of {len(job.dataset.pairs)} images")
        except (RuntimeError, ImageError, OSError, MemoryError) as error:
            ending = ("failed", _reason(error, job.dataset.pairs[len(images) :]))
        finally:
            job.network.to("cpu")
        environment = describe_environment(job.device)
    return Record(
        status=ending[0],
        reason=ending[1],
        started_at=started_at,
        finished_at=datetime.now(UTC),
        model=_model_info(job.spec, job.checkpoint),
        dataset=_dataset_info(job.dataset),
        settings=_settings(job),
        images=tuple(images),
        means=means_of(images),
        complexity=complexity,
        peak_memory_mib=memory and memory.mib,
        peak_memory_method=memory and memory.method,
        flags=tuple(flags),
        environment=environment,
        before=before,
        after=machine_state(job.device),
    )


def run_several(job: Job, runs: int, on_image: Callable[[ImageResult], None]) -> Record:
    """Run a job several times, each in a process of its own with a cold start of its own, and average the times.

    Returns:
        The first run's record with each image's mean time; or the first one that is not complete.
    """
    records = []
    for _ in range(runs):
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            record = pool.submit(_run_quietly, job, torch.get_num_threads()).result()
        if not record.complete:
            return record
        records.append(record)
        for image in record.images:
            on_image(image)
    images = tuple(
        first.model_copy(update={"runtime_ms": fmean(image.runtime_ms for image in (first, *others))})
        for first, *others in zip(*(record.images for record in records), strict=True)
    )
    settings = records[0].settings.model_copy(update={"runs": runs})
    changed = {"images": images, "means": means_of(images), "settings": settings}
    return records[0].model_copy(update={**changed, "finished_at": records[-1].finished_at})


def _run_quietly(job: Job, threads: int) -> Record:
    torch.set_num_threads(threads)
    return run(job, lambda _result: None)


def with_timing(record: Record, timing: Timing) -> Record:
    """Return a record with the speed pass in it; its mean runtime is that over images of the median over rounds.

    A record of which every sample was disturbed is failed.
    """
    medians = [median(kept) for row in timing.samples_ms if (kept := [ms for ms in row if ms is not None])]
    changed = {"timing": timing, "finished_at": datetime.now(UTC)}
    if medians:
        changed["means"] = {**record.means, "runtime_ms": Mean(mean=fmean(medians), count=len(medians))}
    else:
        reasons = ", ".join(f"{count} by {reason}" for reason, count in timing.dropped.items())
        changed |= {"status": "failed", "reason": f"every runtime sample was disturbed ({reasons}); end other work"}
    return record.model_copy(update=changed)


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
    upscaler = Upscaler(job.spec, job.network, job.device, job.tiling)
    for pair in job.dataset.pairs:
        lr, hr = pair.read()
        sr, runtime_ms = upscaler(lr)
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
        yield result


def _reason(error: BaseException, remaining: tuple[ImagePair, ...]) -> str:
    at = f"at image {remaining[0].name}: " if remaining else ""
    # On the CPU torch reports exhausted memory as a plain RuntimeError.
    exhausted = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
    return f"{at}out of memory; use a smaller --tile" if exhausted else f"{at}{error}"


def _model_info(spec: ModelSpec, checkpoint: Checkpoint | None) -> ModelInfo:
    return ModelInfo(
        **{key: getattr(spec, key) for key in ("id", "name", "label", "team", "scale", "data_range")},
        checkpoint=checkpoint and checkpoint.name,
        weights_file=checkpoint and checkpoint.path.name,
        weights_sha256=checkpoint and checkpoint.sha256,
        source_sha256=spec.source_sha256,
    )


def _dataset_info(dataset: Dataset) -> DatasetInfo:
    return DatasetInfo(
        name=dataset.name, layout=dataset.layout, folder=str(dataset.folder), num_images=len(dataset.pairs)
    )


def _settings(job: Job) -> Settings:
    return Settings(
        protocol=job.protocol,
        device=str(job.device),
        tile=job.tiling and job.tiling.tile,
        tile_overlap=job.tiling and job.tiling.shared,
    )
