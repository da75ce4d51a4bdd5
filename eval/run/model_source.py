"""What a command is asked to run, before it is loaded: light, and sent to other processes as it is."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from eval.data.images import ImageSize
from eval.device.clock import Forward
from eval.errors import EngineError, RunError, UsageError
from eval.inference.engines.registry import ENGINES, PLAIN, Execution, check_engine, fastest_with_eager_pixels, prepare
from eval.inference.tiling import Tiling
from eval.inference.upscaler import Upscaler, choose_tiling
from eval.records.record import ModelInfo, State
from eval.run.loaded_model import CannotRunError, InProcess, Subject, zoo_info
from eval.zoo.checkpoints import Checkpoint, MissingWeightsError, find_checkpoint, load_network
from eval.zoo.manifest import ModelSpec

AUTO = "auto"


@dataclass(frozen=True)
class Placement:
    """Where and how a model is to run.

    Attributes:
        device: as torch names it.
        tile: "auto", None for whole images, or a number of LR pixels.
        tile_overlap: LR pixels that tiles share, or None for the default.
        threads: CPU threads for the network; None for as many as torch takes.
        as_template: leave the process as the challenge's template finds it; else keep freed memory, and full float32.
        execution: engine and precision of networks of the zoo; those without weights have no other than plain torch.
        workers: threads that decode, measure and write beside an untimed network.
    """

    device: str
    tile: int | str | None = AUTO
    tile_overlap: int | None = None
    threads: int | None = None
    as_template: bool = False
    execution: Execution = PLAIN
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse tiles that cannot cover an image, and engines that cannot be used here."""
        check_engine(self.execution, self.device)
        if isinstance(self.tile, int):
            Tiling(self.tile, self.tile_overlap)


class Contender(Protocol):
    """A model that can be opened."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is, as far as it is known without loading it."""

    @property
    def note(self) -> str:
        """A few words about it."""

    def open(self, placement: Placement, largest: ImageSize) -> AbstractContextManager[Subject]:
        """Make it ready for images of at most this size (LR).

        Raises:
            CannotRunError: it cannot be run; the record says why.
        """


@dataclass(frozen=True)
class ZooModel:
    """A network of the zoo with the weights that were found for it; None for one that has none."""

    spec: ModelSpec
    checkpoint: Checkpoint | None

    @property
    def info(self) -> ModelInfo:
        """Which model it is, with which weights."""
        return zoo_info(self.spec, self.checkpoint)

    @property
    def note(self) -> str:
        """The manifest's words about it, and the weights that are used."""
        if self.checkpoint is None:
            return self.spec.note
        known = self.checkpoint.name or "not in the manifest"
        return f"{self.spec.note}\nweights  {known}, SHA-256 {self.checkpoint.sha256[:16]}…, {self.checkpoint.path}"

    @contextmanager
    def open(self, placement: Placement, largest: ImageSize) -> Iterator[Subject]:
        """Load the network into this process."""
        network = load_network(self.spec, self.checkpoint)
        device = torch.device(placement.device)
        if placement.tile == AUTO:
            tiling = choose_tiling(self.spec, network, largest, device, placement.tile_overlap)
        else:
            tile = placement.tile
            tiling = tile and Tiling(int(tile), placement.tile_overlap, self.spec.tile_step)
        execution, forward = self._prepared(network, placement, tiling)
        yield InProcess(Upscaler(self.spec, network, device, tiling, forward), self.checkpoint, execution)

    def _prepared(
        self, network: nn.Module, placement: Placement, tiling: Tiling | None
    ) -> tuple[Execution, Forward | None]:
        """Return what runs the network, and how; None for the network itself.

        Raises:
            EngineError: the engine cannot run this network, or not on this machine.
        """
        execution, device = placement.execution, torch.device(placement.device)
        if execution == PLAIN or self.checkpoint is None:
            return PLAIN, None
        placed_tiles = tiling is not None and self.spec.tile_step > 1
        if execution.engine == AUTO:
            return fastest_with_eager_pixels(network.to(device), device, self.spec.data_range, placed_tiles)
        if placed_tiles and not ENGINES[execution.engine].any_tiles:
            raise EngineError(
                f"--engine {execution.engine}: cannot tell tiles where they lie, as {self.spec.label} needs it, and "
                f"images are cut into tiles of {tiling.tile}; use --engine channels-last"
            )
        return execution, prepare(network.to(device), device, execution)


@dataclass(frozen=True)
class WithoutWeights:
    """A network of the zoo whose weights cannot be used, as a row among others that run."""

    spec: ModelSpec
    error: RunError

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""
        return zoo_info(self.spec, None)

    @property
    def note(self) -> str:
        """The manifest's words about it."""
        return self.spec.note

    @contextmanager
    def open(self, _placement: Placement, _largest: ImageSize) -> Iterator[Subject]:
        """Say what is wrong with the weights."""
        if isinstance(self.error, MissingWeightsError):
            command = f"python -m eval fetch weights --model_id {self.spec.id}"
            raise CannotRunError(State.MISSING_CHECKPOINT, f"its weights are not on this machine; {command}")
        raise CannotRunError(State.REFUSED, str(self.error))
        yield


def zoo_models(specs: Sequence[ModelSpec]) -> list[Contender]:
    """Return what can be run of several models; one without usable weights is a row that says so.

    Raises:
        RunError: none of them has weights that can be used; the message is that of the first.
    """
    found: list[Contender] = []
    for spec in specs:
        try:
            found.append(zoo_model(spec))
        except RunError as error:
            found.append(WithoutWeights(spec, error))
    faulty = [model.error for model in found if isinstance(model, WithoutWeights)]
    if len(faulty) == len(found):
        raise faulty[0]
    return found


def zoo_model(spec: ModelSpec, weights: str | None = None) -> ZooModel:
    """Find a model's weights, if it has any, and return what can be run; arguments as for ``find_checkpoint``."""
    if weights and not spec.checkpoints:
        raise UsageError(f"--weights {weights}: {spec.label} has no weights; leave the flag out")
    return ZooModel(spec, find_checkpoint(spec, weights) if spec.checkpoints else None)
