"""Several images at once on a CPU: each stream reads, super-resolves, measures and writes an image of its own.

Threads of one network wait for each other at every layer, and for whatever else the processors do meanwhile, as
metrics and PNG. Networks that share nothing but weights wait for nothing. No figure depends on the number of streams.
"""

from collections.abc import Callable, Generator
from functools import partial
from queue import SimpleQueue

import torch

from eval.config import Protocol
from eval.data.pairs import ImagePair
from eval.device.placing import threads_set
from eval.inference.engines.registry import ENGINES
from eval.inference.upscaler import Upscaler, fit_at_once
from eval.records.record import ImageResult
from eval.run.model_source import LoadedModel
from eval.run.pipeline import run_side_by_side
from eval.run.tasks import EvaluationTask, largest_lr
from eval.zoo.model_info import ZOO

MOST_STREAMS = 8
# With fewer images a stream, the last ones leave too many threads idle.
_LEAST_IMAGES = 4
_MOST_IDLE = 1 / 8
Finish = Callable[[ImagePair, tuple, tuple], ImageResult]


def streams_within(threads: int, most: int = MOST_STREAMS) -> int:
    """Return the largest number of streams up to ``most`` whose equal shares leave few of the threads idle."""
    fitting = [its for its in range(1, most + 1) if threads % its <= _MOST_IDLE * threads and its <= threads]
    return max(fitting, default=1)


def streams_of(task: EvaluationTask, model: LoadedModel) -> int:
    """Return how many images of a task a loaded model works on at once: at most as many as are asked for.

    It is one for timed runs, on a GPU, for what runs in another process or in tiles, for machine code that was compiled
    for all threads, and for networks that are not of the zoo, which may draw random numbers.
    """
    config = task.config
    able = model.device.type == "cpu" and config.protocol is Protocol.ACCURACY and isinstance(model, Upscaler)
    if not able or model.tiling or model.info.origin != ZOO or not ENGINES[model.execution.engine].side_by_side:
        return 1
    most = min(fit_at_once(largest_lr(task.dataset), model.device), len(task.dataset.pairs) // _LEAST_IMAGES)
    asked, threads = config.streams or 1, config.threads or 1
    return asked if asked <= most else streams_within(threads, max(1, most))


def share_of(task: EvaluationTask, streams: int) -> int:
    """Return how many of a task's threads each of its streams has."""
    return max(1, (task.config.threads or 1) // streams)


def in_streams(
    task: EvaluationTask, model: Upscaler, streams: int, finish: Finish
) -> Generator[ImageResult, None, None]:
    """Yield each image's result in order; ``finish`` measures and writes what a stream's network made of a pair."""
    free: SimpleQueue[Upscaler] = SimpleQueue()
    for network in (model, *(model.beside() for _ in range(streams - 1))):
        free.put(network)

    def whole(pair: ImagePair) -> ImageResult:
        images, network = pair.read(), free.get()
        try:
            out = network(images[0])
        finally:
            free.put(network)
        return finish(pair, images, out)

    begin = partial(torch.set_num_threads, share_of(task, streams))
    # Each thread has a number of its own, and threads that come later take the last one that was set.
    with threads_set(None):
        yield from run_side_by_side(task.dataset.pairs, whole, streams, begin)
