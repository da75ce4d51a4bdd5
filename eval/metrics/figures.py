"""What is found out about a network: its counts, and flags for what they do not show. Plain data, without torch."""

from dataclasses import dataclass
from typing import Literal

from eval.frozen import Frozen


class Complexity(Frozen):
    """Integers, for one image of ``input_side`` by ``input_side``.

    Attributes:
        num_params: all parameters, trainable or not.
        flops: multiply-adds, by fvcore's convention (one multiply-add is one), of an image of zeros.
        flops_by_dispatcher: the same by torch's own counter, halved; it follows every operator that runs, and leaves
            interpolation out.
        flops_bound: num_params times pixels: what a network does whose every weight meets every pixel once.
        flops_by_operator: ``flops`` by operator as fvcore names it; empty in records from before it was kept.
        flops_by_hooks: the same by the counter that the challenge used in 2022; only for submissions of that year.
        activations: output elements of all Conv2d and ConvTranspose2d modules, as the challenge counts them.
        num_conv: calls of these modules.
        uncounted_ops: operators that fvcore met and has no rule for, with their number of calls.
        suspect_ops: those of them that can hide multiplications by weights.
        flops_apart: as ``flops_by_dispatcher``, of a submission's graph, by a process that holds none of its code.
        flops_on_noise: as ``flops_by_dispatcher``, of an image of noise.
        faults: what could not be counted, and why; its figures are None.
    """

    input_side: int
    num_params: int
    flops: int | None
    flops_by_dispatcher: int | None
    flops_bound: int
    activations: int | None
    num_conv: int | None
    uncounted_ops: dict[str, int]
    suspect_ops: tuple[str, ...]
    flops_by_hooks: int | None = None
    flops_by_operator: dict[str, int] = {}
    flops_on_noise: int | None = None
    flops_apart: int | None = None
    faults: dict[str, str] = {}


FlagCode = Literal[
    "counters", "bound", "operators", "input", "weights", "precision", "parameters", "state", "subnormal", "uncounted",
    "late", "turn", "timed", "psnr", "stored", "range", "counts",
]  # fmt: skip


class Flag(Frozen):
    """Something about a model that its figures do not show. A flag warns; it never changes a figure."""

    code: FlagCode
    text: str

    @property
    def of_network(self) -> bool:
        """Tell whether it is true of the network on any images; else it is of one run."""
        return self.code not in ("late", "turn", "timed", "psnr", "range")


@dataclass(frozen=True)
class ModelAnalysis:
    """What is found out about a network itself; nothing for one without weights."""

    complexity: Complexity | None = None
    flags: tuple[Flag, ...] = ()
