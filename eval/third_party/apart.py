"""Counts that third-party code has no hand in: of a network's graph, run in a process that holds our code alone.

A submission's worker gives its network as a graph of torch's operators, which needs none of its code. Another worker,
in a sandbox of its own, super-resolves an image by it and counts while it does. If its pixels are the submission's, it
does the same work: who claims less must give a graph that does less, and then it does.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from eval.errors import RunError, one_reason
from eval.metrics.complexity import INPUT_SIDE
from eval.metrics.figures import Complexity, Flag
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.third_party.claims import GraphCounts

if TYPE_CHECKING:
    from eval.third_party.remote import SandboxedUpscaler

# A value on the edge between two grey levels can fall to either side; so can the counters' own rounding.
_GREY_LEVELS = 1
_COUNTS_AGREE = 0.01
# Starts a worker that holds a graph and nothing of the submission.
OpenGraph = Callable[[bytes], AbstractContextManager["SandboxedUpscaler"]]


def checked_apart(
    entry: "SandboxedUpscaler", claimed: Complexity, seen: np.ndarray | None, open_graph: OpenGraph
) -> tuple[Complexity, list[Flag]]:
    """Return a submission's counts with those of its graph beside them, and a flag where they are claims alone.

    ``seen`` is an LR image that it was given, ``(h, w, 3)`` uint8, if there was one.
    """
    try:
        found = _counted(entry, _image_like(seen), open_graph)
    except (RunError, OSError) as error:
        return claimed, [Flag(code="counts", text=f"its counts are claims alone: {one_reason(error)}")]
    told = []
    if found.unknown:
        told.append(f"its counts are claims alone: no counter has a rule for {', '.join(found.unknown)}")
    if found.values > found.flops:
        told.append(f"{found.values:,} values are computed one by one, which no counter counts")
    # fvcore counts all that the dispatcher counts, but for operators that it names: then its own flags tell it.
    claims = (claimed.flops_by_dispatcher, None if claimed.suspect_ops else claimed.flops)
    flops = min((claim for claim in claims if claim is not None), default=claimed.flops)
    counts = {"parameters": (found.num_params, claimed.num_params), "FLOPs": (found.flops, flops)}
    told += [
        f"{what} {number:,} in the graph of what it computes, {claim:,} by its own process"
        for what, (number, claim) in counts.items()
        if claim is not None and number > (1 + _COUNTS_AGREE) * claim
    ]
    flags = [Flag(code="counts", text=text) for text in told]
    return claimed.model_copy(update={"flops_apart": found.flops}), flags


def _image_like(seen: np.ndarray | None) -> np.ndarray:
    """Return a 256x256 image that nobody can foresee: part of one that was seen, turned, with noise of a grey level."""
    random = np.random.default_rng()
    noise = random.integers(0, 256, (INPUT_SIDE, INPUT_SIDE, 3), dtype=np.uint8)
    if seen is None:
        return noise
    missing = [(0, max(INPUT_SIDE - side, 0)) for side in seen.shape[:2]]
    large = np.pad(seen, (*missing, (0, 0)), mode="symmetric")
    top, left = (random.integers(side - INPUT_SIDE + 1) for side in large.shape[:2])
    part = large[top : top + INPUT_SIDE, left : left + INPUT_SIDE]
    turned = np.rot90(part, int(random.integers(4))).astype(np.int16) + noise % 3 - 1
    return turned.clip(0, 255).astype(np.uint8)


def _counted(entry: "SandboxedUpscaler", image: np.ndarray, open_graph: OpenGraph) -> GraphCounts:
    """Return what a submission's graph takes for an image, once its pixels are known to be the submission's."""
    graph = entry.graph()
    expected, _ = entry(image)
    with open_graph(graph) as apart:
        seen, counts = apart.counted(image)
    if np.abs(seen.astype(int) - expected).max() > _GREY_LEVELS:
        raise CannotRunError(State.FAILED_TO_RUN, "the graph that it gives of itself has other pixels than it has")
    return counts
