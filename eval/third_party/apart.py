"""Counts that third-party code has no hand in: of a network's graph, run in a process that holds our code alone.

A submission's worker gives its network as a graph of torch's operators, which needs none of its code. Another worker,
in a sandbox of its own, super-resolves an image by it. If its pixels are the submission's, it does the same work, and
what is counted of it is counted of the network: who claims less must give a graph that does less, and then it does.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.complexity import INPUT_SIDE
from eval.metrics.figures import Complexity, Flag
from eval.records.record import State
from eval.run.failures import CannotRunError

if TYPE_CHECKING:
    from eval.third_party.remote import SandboxedUpscaler

MOST_GRAPH_BYTES = 2**28
# A value on the edge between two grey levels can fall to either side; so can the counters' own rounding.
_GREY_LEVELS = 1
_COUNTS_AGREE = 0.01
OpenGraph = Callable[[bytes], AbstractContextManager["SandboxedUpscaler"]]


def checked_apart(
    entry: "SandboxedUpscaler", claimed: Complexity, open_graph: OpenGraph
) -> tuple[Complexity, list[Flag]]:
    """Return the counts of a submission with those of its graph beside them, and a flag where they are claims alone.

    Args:
        entry: the submission, loaded.
        claimed: what its own process counts.
        open_graph: starts a worker that holds a graph and nothing of the submission.
    """
    try:
        num_params, flops = _counted(entry, open_graph)
    except CannotRunError as error:
        return claimed, [Flag(code="counts", text=f"its counts are claims alone: {error}")]
    counts = {"parameters": (num_params, claimed.num_params), "FLOPs": (flops, claimed.flops_by_dispatcher)}
    told = [
        f"{what} {found:,} in the graph of what it computes, {claim:,} by its own process"
        for what, (found, claim) in counts.items()
        if claim is not None and found > (1 + _COUNTS_AGREE) * claim
    ]
    return claimed.model_copy(update={"flops_apart": flops}), [Flag(code="counts", text=text) for text in told]


def _counted(entry: "SandboxedUpscaler", open_graph: OpenGraph) -> tuple[int, int]:
    """Return parameters and FLOPs of a submission's graph, once its pixels are known to be the submission's."""
    # Nobody can foresee it.
    image = np.random.default_rng().integers(0, 256, (INPUT_SIDE, INPUT_SIDE, 3), dtype=np.uint8)
    graph = entry.graph()
    expected, _ = entry(image)
    with open_graph(graph) as apart:
        seen, _ = apart(image)
        if np.abs(seen.astype(int) - expected).max() > _GREY_LEVELS:
            raise CannotRunError(State.FAILED_TO_RUN, "the graph that it gives of itself has other pixels than it has")
        return apart.counts()
