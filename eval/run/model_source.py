"""What is asked to run, before it is loaded: light, and sent to other processes as it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import torch
from torch import nn

from eval.config import AUTO, EAGER, FULL_PRECISION, RunConfig
from eval.data.images import ImageSize
from eval.device.clock import Forward
from eval.device.memory import PeakMemory
from eval.device.numerics import cudnn_switches
from eval.device.placing import release, threads_set
from eval.errors import EngineError, RunError, UsageError
from eval.inference.engines.choosing import Choice, choose_engine
from eval.inference.engines.preparing import prepare
from eval.inference.engines.registry import ENGINES, PLAIN, Execution
from eval.inference.tiling import Tiling
from eval.inference.upscaler import Upscaler, choose_tiling
from eval.metrics.figures import Flag, ModelAnalysis
from eval.records.record import State
from eval.run.engine_memory import remembered, threads_of
from eval.run.failures import CannotRunError
from eval.timing.warmup import Timed
from eval.zoo.checkpoints import Checkpoint, MissingWeightsError, find_checkpoint, zoo_info
from eval.zoo.loading import load_and_tell, load_network, with_weights_told
from eval.zoo.manifest import ModelSpec
from eval.zoo.model_info import ModelInfo


@dataclass(frozen=True)
class Settled:
    """How a model runs; ``choice`` says what ``auto`` took for it, and ``new`` that this was decided just now."""

    config: RunConfig
    choice: Choice | None = None
    new: bool = False


class LoadedModel(Timed, Protocol):
    """A model that is ready to run, in this process or in another one. Calling it super-resolves one image."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""
        ...

    @property
    def tiling(self) -> Tiling | None:
        """How images are cut; None for whole images."""

    @property
    def execution(self) -> Execution:
        """By which engine it runs, in which precision."""
        ...

    @property
    def run_flags(self) -> tuple[Flag, ...]:
        """What was irregular about its images so far."""
        ...

    def analyse(self) -> ModelAnalysis:
        """Count it, and look for what its figures do not show."""
        ...

    def peak_memory(self) -> AbstractContextManager[PeakMemory]:
        """Measure the peak memory of a block of code that calls it."""
        ...

    def on_device(self) -> AbstractContextManager[None]:
        """Hold it on its device for a block of code."""
        ...


class ModelSource(Protocol):
    """A model that can be loaded."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is, as far as it is known without loading it; of files, as they were first read for it."""
        ...

    @property
    def note(self) -> str:
        """A few words about it."""
        ...

    def source_now(self) -> str | None:
        """Return ``info.source_sha256`` of the files as they are now; None if they are no model any more.

        Raises:
            OSError, UsageError: they cannot be read.
        """
        ...

    def weights_now(self) -> str | None:
        """Return ``info.weights_sha256`` of what another run would load now.

        Raises:
            OSError: the files cannot be read any more.
        """
        ...

    def settled(self, config: RunConfig, largest: ImageSize, /) -> "Settled":
        """Return how this model runs when asked to run so.

        The engine is one by name then, and what the model cannot do otherwise is as it does it.
        """
        ...

    def open(self, config: RunConfig, largest: ImageSize, /) -> AbstractContextManager[LoadedModel]:
        """Make it ready for images of at most this size (LR).

        Raises:
            CannotRunError: it cannot be run; the record says why.
        """
        ...


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
        return f"{self.spec.note}\nweights  {known}, SHA-256 {self.checkpoint.sha256[:16]}..., {self.checkpoint.path}"

    def source_now(self) -> str:
        """Return the hash of its source as the files are now."""
        return self.spec.source_now()

    def weights_now(self) -> str | None:
        """Return the hash of its weights: a file of another one is not loaded."""
        return self.checkpoint and self.checkpoint.sha256

    def settled(self, config: RunConfig, largest: ImageSize) -> Settled:
        """Choose the engine that ``auto`` stands for; what has no weights runs as plain torch in float32."""
        return settled_with(self.spec, partial(load_network, self.spec, self.checkpoint), self.info, config, largest)

    @contextmanager
    def open(self, config: RunConfig, largest: ImageSize) -> Iterator[Upscaler]:
        """Load the network into this process."""
        network, told = load_and_tell(self.spec, self.checkpoint)
        yield upscaler_of(self.spec, network, with_weights_told(self.info, told), config, largest)


def upscaler_of(
    spec: ModelSpec, network: nn.Module, info: ModelInfo, config: RunConfig, largest: ImageSize
) -> Upscaler:
    """Return a network of this process, cut into tiles and run by an engine as asked.

    Raises:
        EngineError: the engine cannot run this network, or not on this machine.
    """
    config = settled_with(spec, lambda: network, info, config, largest).config
    device = torch.device(config.device)
    tiling = tiling_of(spec, network, config, largest)
    execution, forward = PLAIN, None
    if not config.is_plain:
        execution, forward = _prepared(spec, network, config, tiling)
    return Upscaler(spec, network, device, tiling, forward, execution, info)


def settled_with(
    spec: ModelSpec, load: Callable[[], nn.Module], info: ModelInfo, config: RunConfig, largest: ImageSize
) -> Settled:
    """Return how a network runs: what has no weights as plain torch in float32, else by the engine that is asked for.

    For ``auto`` that is the one that it takes for this network, decided now or before.
    """
    if info.weights_sha256 is None:
        return Settled(config.replaced(engine=EAGER, precision=FULL_PRECISION))
    if config.engine != AUTO:
        return Settled(config)
    network, device = load(), torch.device(config.device)
    placed_tiles = spec.tile_step > 1 and tiling_of(spec, network, config, largest) is not None

    def choose() -> Choice:
        with cudnn_switches(bool(config.tf32)), threads_set(threads_of(info, config)):
            try:
                return choose_engine(network.to(device), device, config.precision, spec.data_range, placed_tiles)
            finally:
                # What runs next may be another process, which finds the device as it was.
                network.to("cpu")
                release(device)

    choice, new = remembered(info, config, placed_tiles, choose)
    return Settled(config.replaced(engine=choice.engine), choice, new)


def tiling_of(spec: ModelSpec, network: nn.Module, config: RunConfig, largest: ImageSize) -> Tiling | None:
    """Return how images are cut; None for whole images."""
    if config.tile == AUTO:
        return choose_tiling(spec, network, largest, torch.device(config.device), config.tile_overlap)
    return None if config.tile is None else Tiling(int(config.tile), config.tile_overlap, spec.tile_step)


def _prepared(
    spec: ModelSpec, network: nn.Module, config: RunConfig, tiling: Tiling | None
) -> tuple[Execution, Forward]:
    execution, device = Execution(config.engine or EAGER, config.precision), torch.device(config.device)
    placed_tiles = tiling if spec.tile_step > 1 else None
    if placed_tiles and not ENGINES[execution.engine].any_tiles:
        raise EngineError(
            f"--engine {execution.engine}: cannot tell tiles where they lie, as {spec.label} needs it, and "
            f"images are cut into tiles of {placed_tiles.tile}; use --engine channels-last"
        )
    return execution, prepare(network.to(device), device, execution)


@dataclass(frozen=True)
class WithoutWeights(ZooModel):
    """A network of the zoo whose weights cannot be used, as a row among others that run."""

    checkpoint: None = field(default=None, init=False)
    error: RunError

    def settled(self, config: RunConfig, largest: ImageSize) -> Settled:
        """Return what was asked for: nothing runs."""
        return Settled(config)

    @contextmanager
    def open(self, config: RunConfig, largest: ImageSize) -> Iterator[Upscaler]:
        """Say what is wrong with the weights."""
        if isinstance(self.error, MissingWeightsError):
            command = f"python -m eval fetch weights --model_id {self.spec.id}"
            raise CannotRunError(State.MISSING_CHECKPOINT, f"its weights are not on this machine; {command}")
        raise CannotRunError(State.REFUSED, str(self.error))
        yield


def zoo_models(specs: Sequence[ModelSpec]) -> list[ModelSource]:
    """Return what can be run of several models; one without usable weights is a row that says so.

    Raises:
        RunError: none of them has weights that can be used; the message is that of the first.
    """
    found: list[ModelSource] = []
    for spec in specs:
        try:
            found.append(zoo_model(spec))
        except RunError as error:
            found.append(WithoutWeights(spec, error))
    faulty = [model.error for model in found if isinstance(model, WithoutWeights)]
    if len(faulty) == len(found):
        raise faulty[0]
    return found


def zoo_model(spec: ModelSpec, weights: str | None = None, weights_key: str | None = None) -> ZooModel:
    """Find a model's weights, if it has any, and return what can be run; arguments as for ``find_checkpoint``."""
    if not spec.checkpoints:
        if weights or weights_key:
            given = f"--weights {weights}" if weights else f"--weights_key {weights_key}"
            raise UsageError(f"{given}: {spec.label} has no weights; leave the flag out")
        return ZooModel(spec, None)
    return ZooModel(spec, replace(find_checkpoint(spec, weights), key=weights_key))
