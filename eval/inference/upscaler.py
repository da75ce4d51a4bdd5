"""From an LR image to an SR image: device, whole image or tiles, checks on what the network returns."""

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from eval.data.images import ImageSize
from eval.device.clock import Forward, kernels_ms, timed
from eval.device.memory import PeakMemory, available_bytes, live_bytes_per_pixel, peak_memory
from eval.device.numerics import as_torch_ships
from eval.device.pixels import to_tensor, to_uint8
from eval.device.placing import release
from eval.device.transfer import to_device
from eval.errors import RunError, UsageError
from eval.inference.engines.preparing import prepare
from eval.inference.engines.registry import PLAIN, Execution
from eval.inference.outputs import output_in_words, range_flag, what_to_return
from eval.inference.tiling import Tiling, upscale_in_tiles
from eval.metrics.behaviour import inspect
from eval.metrics.complexity import complexity_flags, measure_complexity
from eval.metrics.figures import Flag, ModelAnalysis
from eval.zoo.checkpoints import zoo_info
from eval.zoo.loading import stored_flags
from eval.zoo.manifest import ModelSpec
from eval.zoo.model_info import ModelInfo
from models.window import Window, tile_of

AUTO_TILES = (1024, 512, 256, 128, 64)
# Convolution libraries keep reordered copies beside the network's own tensors.
_WORKSPACE_FACTOR = 2.0
_USABLE_SHARE = 0.8
# More than any network of the zoo takes. Where even this fits, no probe is run, and the network stays cold.
_AMPLE_BYTES_PER_PIXEL = 16 * 1024


class InvalidOutputError(RunError):
    """A network returned something that is no SR image of its input."""


class NoTileFitsError(RunError):
    """Free memory is too little for any tile that ``--tile auto`` may take."""


@dataclass(frozen=True)
class Upscaler:
    """A loaded model of this process, ready to super-resolve images on a device.

    Attributes:
        tiling: None sends the whole image at once.
        forward: an engine's way to run the network on the device; None for the network itself.
        execution: that engine and its precision.
        described: which model it is; by default the spec without weights.
        as_loaded: what tells whether its network was changed since it was loaded; None if nothing does.
    """

    spec: ModelSpec
    network: nn.Module
    device: torch.device
    tiling: Tiling | None = None
    forward: Forward | None = None
    execution: Execution = PLAIN
    described: ModelInfo | None = None
    as_loaded: str | None = None
    _odd_range: list[Flag] = field(default_factory=list)
    # All of its work is done by this process.
    processes = frozenset[int]()
    irregular = None

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.network.parameters())
        how = f"{self.execution.precision} by {self.execution.engine}"
        weights = self.info.weights_file or "no file of weights"
        return f"Upscaler({self.label}, {weights}, {count:,} parameters, {self.device}, {how})"

    @property
    def info(self) -> ModelInfo:
        """Which model it is, with which weights."""
        return self.described or zoo_info(self.spec, None)

    @property
    def run_flags(self) -> tuple[Flag, ...]:
        """A flag for the first output of another range than the stated one; it is our own code that times it."""
        return tuple(self._odd_range[:1])

    @property
    def label(self) -> str:
        """The model's name in tables."""
        return self.spec.label

    def beside(self) -> "Upscaler":
        """Return another one of the same weights, for another thread: what its network keeps of an image is its own."""
        network = copy.deepcopy(self.network, {id(weights): weights for weights in self.network.parameters()})
        return replace(self, network=network, forward=self.forward and prepare(network, self.device, self.execution))

    def analyse(self) -> ModelAnalysis:
        """Count the network and look for what its figures do not show; four forward passes each."""
        if self.info.weights_sha256 is None:
            return ModelAnalysis()
        complexity = measure_complexity(self.network, data_range=self.spec.data_range)
        flags = (*complexity_flags(complexity), *inspect(self.network, self.spec.data_range), *stored_flags(self.info))
        return ModelAnalysis(complexity, flags)

    def peak_memory(self) -> AbstractContextManager[PeakMemory]:
        """Measure the peak memory of a block of code that calls it: of the device, or of this process on a CPU."""
        return peak_memory(self.device)

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Hold the network on the device for a block of code; several models may not fit there together."""
        try:
            self.network.to(self.device)
            yield
        except BaseException:
            # A device that has failed fails here again, which must not hide why.
            with suppress(Exception):
                self._leave()
            raise
        self._leave()

    def _leave(self) -> None:
        self.network.to("cpu")
        release(self.device)

    @as_torch_ships()
    @torch.inference_mode()
    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        """Super-resolve one image.

        Args:
            lr: ``(h, w, 3)``, uint8, RGB.

        Returns:
            ``(4h, 4w, 3)`` uint8, and the network's own time in ms (summed over tiles).

        Raises:
            InvalidOutputError: the network's output has a wrong shape or type, or is not finite.
        """
        is_array = isinstance(lr, np.ndarray) and lr.dtype == np.uint8 and lr.ndim == 3
        if not is_array or lr.shape[2] != 3 or 0 in lr.shape:
            got = f"{lr.dtype} {lr.shape}" if isinstance(lr, np.ndarray) else type(lr).__name__
            raise UsageError(f"expected an LR image, an array (height, width, 3) in uint8, RGB; got {got}")
        height, width = (side * self.spec.scale for side in lr.shape[:2])
        x = reflect_up_to(to_tensor(lr, self.spec.data_range), self.spec.min_size)
        if self.tiling is None:
            sr, runtime_ms = self._forward(x)
            pixels = to_uint8(sr, self.spec.data_range)
        else:
            pixels, runtime_ms = self._in_tiles(x, self.tiling)
        return np.ascontiguousarray(pixels[:height, :width]), runtime_ms

    @torch.inference_mode()
    def kernels_ms(self, lr: np.ndarray) -> float | None:
        """Return the time that a GPU itself works on an image ``(h, w, 3)`` in uint8, without waiting for the CPU.

        None on another device, with tiles, and where it cannot be told.
        """
        if self.tiling is not None:
            return None
        x = reflect_up_to(to_tensor(lr, self.spec.data_range), self.spec.min_size)
        return kernels_ms(self.forward or self.network, to_device(x, self.device))

    def _in_tiles(self, x: Tensor, tiling: Tiling) -> tuple[np.ndarray, float]:
        runtimes_ms = []

        def upscale(tile: Tensor, window: Window) -> Tensor:
            height, width = (side * self.spec.scale for side in tile.shape[-2:])
            with tile_of(window):
                sr, runtime_ms = self._forward(reflect_up_to(tile, self.spec.min_size))
            runtimes_ms.append(runtime_ms)
            return sr[:, :height, :width].float().cpu()

        finish = partial(to_uint8, data_range=self.spec.data_range)
        return upscale_in_tiles(x, tiling, self.spec.scale, upscale, finish), sum(runtimes_ms)

    def _forward(self, x: Tensor) -> tuple[Tensor, float]:
        """Send ``(1, 3, h, w)`` to the device and run the network; return ``(3, 4h, 4w)`` and its time in ms."""
        sr, runtime_ms = timed(self.forward or self.network, to_device(x, self.device))
        scale = self.spec.scale
        self._check(sr, (1, 3, x.shape[-2] * scale, x.shape[-1] * scale))
        if not self._odd_range:
            mean_in, mean_out = (image.mean(dtype=torch.float32).item() / self.spec.data_range for image in (x, sr))
            if flag := range_flag(mean_in, mean_out, self.spec.data_range):
                self._odd_range.append(flag)
        return sr[0], runtime_ms

    def _check(self, sr: Tensor, expected: tuple[int, ...]) -> None:
        if not isinstance(sr, Tensor) or not sr.is_floating_point() or tuple(sr.shape) != expected:
            got = f"{output_in_words(sr)}{what_to_return(sr, expected)}"
            raise InvalidOutputError(f"{self.spec.label}: expected a float output of shape {expected}, got {got}")
        # One pass, in the order of memory: least and largest value of a tensor with a NaN are NaN.
        in_order = sr if sr.is_contiguous() else sr.movedim(1, -1)
        if not torch.stack(in_order.aminmax()).isfinite().all():
            raise InvalidOutputError(f"{self.spec.label}: the output holds values that are not finite (NaN or inf)")


def reflect_up_to(x: Tensor, min_size: int) -> Tensor:
    """Extend ``(N, C, h, w)`` at right and bottom by reflection until both sides are at least ``min_size``.

    The edge pixel is not repeated; a side of one pixel is. Sides that are long enough stay as they are.
    """
    for axis in (-2, -1):
        length = x.shape[axis]
        if length < min_size:
            period = max(2 * length - 2, 1)
            position = torch.arange(min_size, device="cpu") % period
            x = x.index_select(axis, torch.minimum(position, period - position).clamp(max=length - 1))
    return x


def fit_at_once(largest: ImageSize, device: torch.device) -> int:
    """Return how many LR images of this size fit into free memory at once, whatever the network."""
    return int(_USABLE_SHARE * available_bytes(device) / (largest.height * largest.width * _AMPLE_BYTES_PER_PIXEL))


def choose_tiling(
    spec: ModelSpec, network: nn.Module, largest: ImageSize, device: torch.device, overlap: int | None = None
) -> Tiling | None:
    """Decide for ``--tile auto``: the whole image, or the largest tile whose tensors fit into free memory.

    The network is on the CPU; tiles share ``overlap`` LR pixels.

    Raises:
        NoTileFitsError: no tile that is larger than the overlap fits.
    """
    if fit_at_once(largest, device):
        return None
    usable = _USABLE_SHARE * available_bytes(device)
    per_pixel = _WORKSPACE_FACTOR * live_bytes_per_pixel(network)
    if largest.height * largest.width * per_pixel <= usable:
        return None
    fitting = [tile for tile in AUTO_TILES if tile**2 * per_pixel <= usable and tile > (overlap or 0)]
    if not fitting:
        smallest = min((tile for tile in AUTO_TILES if tile > (overlap or 0)), default=max(AUTO_TILES))
        raise NoTileFitsError(
            f"--tile auto: {usable / 2**20:.0f} MiB can be used on {device}, too little for tiles of {smallest} with "
            f"an overlap of {'the default size' if overlap is None else overlap}; give --tile and --tile_overlap"
        )
    return Tiling(fitting[0], overlap, spec.tile_step)
