"""The record of one model on one set: the only memory of a run, from which every table is computed."""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field

from eval.config import Protocol, RunConfig, one_form
from eval.frozen import Frozen
from eval.metrics.figures import Complexity, Flag
from eval.metrics.registry import METRICS
from eval.records.environment import Environment, MachineState
from eval.timing.samples import Timing
from eval.zoo.model_info import ModelInfo

SCHEMA_VERSION = 1
SHOWN_OF_A_HASH = 8
# The figures of an image: those of the registry, and its time.
FIGURES = (*(metric.key for metric in METRICS.values()), "runtime_ms")
_COUNTS = ("num_params", "flops", "activations", "num_conv")


class State(StrEnum):
    """What became of a model: it ran, or why it did not."""

    RAN = "ran"
    REFUSED = "refused"
    MISSING_CHECKPOINT = "missing checkpoint"
    MISSING_DEPENDENCY = "missing dependency"
    NEEDS_OPERATOR = "needs CUDA operator"
    FAILED_TO_BUILD = "failed to build"
    FAILED_TO_LOAD = "failed to load"
    FAILED_TO_RUN = "failed to run"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    INVALID_OUTPUT = "invalid output"
    ENGINE_FAILED = "engine failed"
    IO_FAILED = "could not read or write"
    DEVICE_FAILED = "device failed"
    KILLED = "killed"
    SOURCE_CHANGED = "source changed"
    FILES_CHANGED = "files changed"

    @property
    def follows_from_key(self) -> bool:
        """Tell whether the same model on the same images must end like this again, whatever a user mends."""
        return self in (State.FAILED_TO_BUILD, State.FAILED_TO_LOAD, State.FAILED_TO_RUN, State.INVALID_OUTPUT)


class DatasetInfo(Frozen):
    """Which set it ran on; ``sha256`` is of all names and files, None in records from before it was kept.

    ``num_grey`` of its images are stored as grey, and were measured as RGB with three equal channels.
    """

    name: str
    layout: str
    folder: str
    num_images: int
    sha256: str | None = None
    num_grey: int | None = None

    @property
    def identity(self) -> tuple[str, str | None]:
        """Name and hash: what two records of one set share."""
        return self.name, self.sha256


class ImageResult(Frozen):
    """One image. Figures that were not taken are None; the dB of identical images are ``inf``.

    A figure of the metrics' registry that has no field here stands beside the others under its key, and one that a
    later version took is kept, though nothing here shows it.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None] = Field(init=False)

    name: str
    lr_height: int
    lr_width: int
    psnr_db: float | None = None
    ssim: float | None = None
    runtime_ms: float | None = None

    def figure(self, key: str) -> float | None:
        """Return a figure by its key; None if it was not taken."""
        return getattr(self, key, None)


class Mean(Frozen):
    """An unrounded mean, and over how many images it was taken."""

    mean: float
    count: int


class Compiled(Frozen):
    """What a compiled network took, beside the same one that was not compiled; taken after the set, on one image of it.

    Attributes:
        ready_s: from its start until it could run; with what is in the cache, and what is not.
        image_ms: for an image of the set's mean size.
        beside: the other engine, of which the other two are the times.
    """

    ready_s: float
    image_ms: float
    beside: str
    beside_ready_s: float
    beside_ms: float

    def lost_s(self, images: int) -> float:
        """Return how much longer it took over so many images than the other engine would have; negative for a gain."""
        return self.ready_s - self.beside_ready_s + images * (self.image_ms - self.beside_ms) / 1e3

    @property
    def pays_from(self) -> int | None:
        """From how many such images on it is the faster one; None if it never is."""
        if self.image_ms >= self.beside_ms:
            return None
        return max(0, math.ceil(1e3 * (self.ready_s - self.beside_ready_s) / (self.beside_ms - self.image_ms)))


class Settings(Frozen):
    """How it ran, as readers of records know it.

    Attributes:
        tile: None for the whole image.
        engine: what ran; of "auto", what it took.
        left_out: engines that "auto" could not try, each with the reason.
        engine_asked: "auto" where that chose the engine.
        streams: images that were worked on at once. None in records from before it was kept.
        workers: threads beside a network of one stream; they change no figure. None in records from before it was kept.
        compiled: what compiling took and gained, where that was asked for; None elsewhere, and in older records.
    """

    protocol: Protocol
    device: Annotated[str, AfterValidator(one_form)]
    tile: int | None
    tile_overlap: int | None
    runs: int = 1
    engine: str = "eager"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    left_out: tuple[str, ...] = ()
    engine_asked: str | None = None
    streams: int | None = None
    workers: int | None = None
    compiled: Compiled | None = None


class Record(Frozen):
    """One model on one set.

    Attributes:
        reason: why a record is not complete.
        traceback: where an error came from that nobody expected.
        key: of everything that the figures depend on; equal keys need not be measured again.
        config: how it was to run, with device, threads and engine as they were taken; None in records from before it
            was kept.
        images_folder: where its SR images lie, under the folder of results; None if none were written, or in records
            from before it was kept.
        images_key: of everything that their pixels depend on.
        figures_key: of everything that figures besides times depend on, whichever of them are taken.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    status: Literal["complete", "interrupted", "failed"]
    reason: str | None = None
    traceback: str | None = None
    state: State = State.RAN
    key: str | None = None
    images_folder: str | None = None
    images_key: str | None = None
    figures_key: str | None = None
    started_at: AwareDatetime
    finished_at: AwareDatetime
    model: ModelInfo
    dataset: DatasetInfo
    settings: Settings
    config: RunConfig | None = None
    images: tuple[ImageResult, ...]
    means: dict[str, Mean]
    timing: Timing | None = None
    complexity: Complexity | None
    peak_memory_mib: float | None
    peak_memory_method: str | None
    flags: tuple[Flag, ...] = ()
    environment: Environment
    before: MachineState
    after: MachineState

    @property
    def outcome(self) -> str:
        """What became of a record that is not complete, and why, on one line."""
        what = self.status if self.state is State.RAN else self.state.value
        reason = str(self.reason)
        return reason if reason.startswith(what) else f"{what}: {reason}"

    @property
    def complete(self) -> bool:
        """Tell whether every image was done."""
        return self.status == "complete"

    @property
    def sr_folder(self) -> str:
        """Where its SR images lie, under the folder of results."""
        return self.images_folder or f"{self.model.label}/{self.dataset.name}"

    @property
    def timed_images(self) -> tuple[str, ...]:
        """The names of the images that its mean runtime is over; by the steady protocol those with a kept sample."""
        return tuple(self.timing.medians_ms() if self.timing else (image.name for image in self.images))

    @property
    def timed_part(self) -> str:
        """How many of its images its mean runtime is over, as in "30 of 100 images"; empty where over all."""
        timed, images = len(self.timed_images), len(self.images)
        return f"{timed} of {images} images" if timed < images else ""

    @property
    def psnrs_db(self) -> dict[str, float]:
        """The PSNR of each image of which it was taken, by name."""
        return {image.name: image.psnr_db for image in self.images if image.psnr_db is not None}

    @property
    def counts(self) -> dict[str, int | None]:
        """The counts of its network, each under its key; None where it was not taken."""
        return {key: getattr(self.complexity, key, None) for key in _COUNTS}

    def mean(self, figure: str) -> float | None:
        """Return the mean over images, unrounded; None if the figure was not taken."""
        return self.means[figure].mean if figure in self.means else None


def means_of(images: Sequence[ImageResult]) -> dict[str, Mean]:
    """Return the mean of each figure that was taken of every image, with the number of images."""
    means: dict[str, Mean] = {}
    for figure in FIGURES:
        values = [value for image in images if (value := image.figure(figure)) is not None]
        if values and len(values) == len(images):
            total = math.fsum(values) if all(map(math.isfinite, values)) else math.inf
            means[figure] = Mean(mean=total / len(values), count=len(values))
    return means
