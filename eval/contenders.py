"""What a command is asked to run, before it is loaded: light, and sent to other processes as it is."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from eval.checkpoints import Checkpoint, find_checkpoint, load_network
from eval.images import ImageSize
from eval.inference import Upscaler, choose_tiling
from eval.record import ModelInfo
from eval.subject import InProcess, Subject, zoo_info
from eval.tiling import Tiling
from eval.zoo import ModelSpec

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
    """

    device: str
    tile: int | str | None = AUTO
    tile_overlap: int | None = None
    threads: int | None = None
    as_template: bool = False

    def __post_init__(self) -> None:
        """Refuse tiles that cannot cover an image."""
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
            tiling = choose_tiling(self.spec, network, largest, device)
        else:
            tile = placement.tile
            tiling = tile and Tiling(int(tile), placement.tile_overlap, self.spec.tile_step)
        yield InProcess(Upscaler(self.spec, network, device, tiling), self.checkpoint)


def zoo_model(spec: ModelSpec, weights: str | None = None) -> ZooModel:
    """Find a model's weights, if it has any, and return what can be run; arguments as for ``find_checkpoint``."""
    return ZooModel(spec, find_checkpoint(spec, weights) if spec.checkpoints or weights else None)
