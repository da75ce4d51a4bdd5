"""Whether compiling a network paid over the images at hand: asked afterwards, of the engine that needs none."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np

from eval.inference.engines.registry import ENGINES
from eval.inference.upscaler import Upscaler
from eval.records.record import Compiled
from eval.run.model_source import LoadedModel
from eval.run.streams import in_streams, streams_of
from eval.run.tasks import EvaluationTask, largest_lr

BESIDE = "channels-last"
# Both engines take turns on one image, so often; less often if that takes longer than this.
_MOST_ROUNDS, _MOST_S = 5, 1.0


def timed_beside(task: EvaluationTask, model: LoadedModel, ready_s: float) -> Compiled | None:
    """Return what a compiled network took, beside the same network that is not compiled; None if it is not compiled.

    What is timed is the image whose size is nearest to the set's mean, for about a second; in streams, where the
    network would run so, as many of it at once. It changes no figure. The model is warm and on its device, and took
    ``ready_s`` to be opened.
    """
    if not ENGINES[model.execution.engine].compiles:
        return None
    lr, started = _middle_image(task), time.perf_counter()
    other = replace(task, config=task.config.replaced(engine=BESIDE))
    with other.model.open(other.config, largest_lr(task.dataset)) as beside, beside.on_device():
        beside_ready_s = time.perf_counter() - started
        image_ms, beside_ms = _in_turns(lr, (partial(_image_ms, task, model), partial(_image_ms, other, beside)))
    times = {"ready_s": ready_s, "image_ms": image_ms, "beside_ready_s": beside_ready_s, "beside_ms": beside_ms}
    return Compiled(beside=BESIDE, **times)


def _image_ms(task: EvaluationTask, model: LoadedModel, lr: np.ndarray) -> float:
    streams = streams_of(task, model)
    if streams == 1 or not isinstance(model, Upscaler):
        return model(lr)[1]
    started = time.perf_counter()
    for _ in in_streams(task, model, streams, [lr] * streams, lambda image, network: network(image)):
        pass
    return (time.perf_counter() - started) * 1e3 / streams


def _in_turns(lr: np.ndarray, times: tuple[Callable[[np.ndarray], float], ...]) -> list[float]:
    """Return the median of each time, in ms, without its first."""
    started, rounds = time.perf_counter(), []
    while len(rounds) < 2 or (len(rounds) <= _MOST_ROUNDS and time.perf_counter() - started < _MOST_S):
        rounds.append([image_ms(lr) for image_ms in times])
    return [median(its) for its in zip(*rounds[1:], strict=True)]


def _middle_image(task: EvaluationTask) -> np.ndarray:
    """Return the LR image whose size is nearest to the mean of the set."""
    pixels = [size.height * size.width for size in task.dataset.lr_sizes]
    mean = sum(pixels) / len(pixels)
    nearest = min(range(len(pixels)), key=lambda index: abs(pixels[index] - mean))
    return task.dataset.pairs[nearest].read()[0]
