"""Several images at once on a CPU: each stream reads, super-resolves, measures and writes an image of its own.

Threads of one network wait for each other at every layer, and for whatever else the processors do meanwhile, as
metrics and PNG. Networks that share nothing but weights wait for nothing. Figures depend on the number of streams as
they do on that of threads: by the order of sums alone.
"""

from collections.abc import Callable, Generator, Iterable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

import torch

from eval.config import Protocol
from eval.device.groups import usable_cpus
from eval.device.placing import threads_set
from eval.inference.engines.registry import ENGINES
from eval.inference.upscaler import Upscaler, fit_at_once
from eval.run.model_source import LoadedModel
from eval.run.pipeline import run_side_by_side
from eval.run.tasks import EvaluationTask, largest_lr
from eval.zoo.model_info import ZOO

MOST_STREAMS = 8
# With fewer images a stream, the last ones leave too many threads idle.
_LEAST_IMAGES = 4
_MOST_IDLE = 1 / 8
Item = TypeVar("Item")
Result = TypeVar("Result")


def streams_within(threads: int, most: int = MOST_STREAMS) -> int:
    """Return the largest number of streams up to ``most`` whose equal shares leave few of the threads idle."""
    fitting = [its for its in range(1, most + 1) if threads % its <= _MOST_IDLE * threads and its <= threads]
    return max(fitting, default=1)


def streams_of(task: EvaluationTask, model: LoadedModel) -> int:
    """Return how many images of a task a loaded model works on at once: at most as many as are asked for.

    It is one for timed runs, on a GPU, for what runs in another process or in tiles, for machine code that was compiled
    for all threads, and for networks that are not of the zoo, which may draw random numbers.
    """
    config, threads = task.config, task.config.threads or 1
    able = model.device.type == "cpu" and config.protocol is Protocol.ACCURACY and isinstance(model, Upscaler)
    if not able or model.tiling or model.info.origin != ZOO or not ENGINES[model.execution.engine].side_by_side:
        return 1
    # Passes side by side share the processors, and so the memory.
    share = min(1, threads / usable_cpus())
    fitting = int(fit_at_once(largest_lr(task.dataset), model.device) * share)
    most, asked = min(fitting, len(task.dataset.pairs) // _LEAST_IMAGES), min(config.streams or 1, threads)
    return asked if asked <= most else streams_within(threads, max(1, most))


def in_streams(
    task: EvaluationTask,
    model: Upscaler,
    streams: int,
    items: Iterable[Item],
    whole: Callable[[Item, Upscaler], Result],
) -> Generator[Result, None, None]:
    """Yield the result of each item, in order; ``whole`` is given an item and the network of its stream."""
    free: SimpleQueue[Upscaler] = SimpleQueue()
    for network in (model, *(model.beside() for _ in range(streams - 1))):
        free.put(network)

    def with_network(item: Item) -> Result:
        network = free.get()
        try:
            return whole(item, network)
        finally:
            free.put(network)

    begin = partial(torch.set_num_threads, max(1, (task.config.threads or 1) // streams))
    # Each thread has a number of its own, and threads that come later take the last one that was set.
    with threads_set(None):
        yield from run_side_by_side(items, with_network, streams, begin)
