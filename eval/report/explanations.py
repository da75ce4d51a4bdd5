"""What columns and flags mean, in a sentence each."""

from eval.metrics.figures import Flag
from eval.metrics.registry import METRICS

COLUMN_HELP = {
    "rank": "Rank by the edition's main rule. A range of ranks means that the order is not settled: the 95% interval "
    "of a runtime ratio allows both orders. The baseline is not ranked; its row is placed by its score.",
    "score": "Weighted sum of exp(2 x figure / baseline's figure). The lowest score wins; the baseline has 7.39.",
    **{row.key: f"{row.title}: {row.meaning}" for row in METRICS.values()},
    "psnr_db": f"{METRICS['psnr'].title}: {METRICS['psnr'].meaning} Below it the 95% interval of the difference to the "
    "baseline, paired by image, on a scale for the whole column; tied: the difference is not significant.",
    "runtime_ms": "The network's forward pass on one image, mean over images. Below it the 95% "
    "interval of its ratio to the first model of the run, on a scale from the fastest to the slowest model.",
    "kernels_ms": "Time of the GPU's kernels on one image, without the CPU's time to launch them.",
    "p90_ms": "90% of all measured times are at most this value.",
    "ratio": "Runtime divided by that of the first model of the run (see the notes), with its 95% interval.",
    "num_params": "All parameters, trainable or not.",
    "flops": "Multiply-adds of one 256x256 input, by fvcore.",
    "flops_by_hooks": "Multiply-adds by the counter of 2022, which counts activation layers, but no functional calls.",
    "activations": "Output elements of all convolutions for one 256x256 input.",
    "num_conv": "Calls of convolutions.",
    "peak_memory_mib": "Peak memory of the run; the notes below the table say how it was measured.",
}
# What the page calls a flag, and why it matters.
_FLAGS = {
    "counters": "FLOP counters differ: fvcore and torch's own counter disagree by more than 1%, so one of them "
    "misses work.",
    "bound": "FLOPs below bound: Far fewer FLOPs than parameters times pixels (weights that nobody counted, or "
    "legitimate strided branches), or far more (weights that are no parameters, weights used again, or products of "
    "features).",
    "operators": "Uncounted operators: An operator that fvcore has no rule for can hide multiplications.",
    "input": "Depends on the input: It runs other layers on noise than on zeros, on which FLOPs are counted and "
    "published.",
    "weights": "Weights outside of Params: Buffers, constants or random numbers do the work of parameters, so its "
    "Params are too low.",
    "precision": "Half precision inside: A half-precision tensor inside a float32 network trades accuracy for speed.",
    "parameters": "Writes its parameters: A parameter or buffer changes during a forward pass, as in a network that "
    "fuses itself each time.",
    "state": "Keeps state: The same image gives another output after a different one: state between images, or "
    "randomness.",
    "subnormal": "Subnormal numbers: With values below 1.2e-38 a CPU needs up to a hundred times as long; GPUs are "
    "not affected.",
    "uncounted": "Cannot be counted: Something could not be counted, or it could not be inspected: that figure or "
    "flag is missing.",
    "late": "Work outside the timed part: It computes outside the timed forward pass, so its runtime is too low.",
    "turn": "Uses others' processors: It computes while others are timed, or with more threads than it was given.",
    "timed": "Other output when timed: Its output while it was timed differs from the output that was evaluated.",
    "stored": "Stored in another type: Its weights were kept in another type than float32, and converted.",
    "range": "Another data range: Its output is much brighter or darker than its input: perhaps it is untrained, or "
    "its data range is another one than is said.",
    "counts": "Counts not confirmed: They come from a process that the entry's own code can change. The size of its "
    "file of weights, or its graph run without its code, does not confirm them.",
    "psnr": "Implausible PSNR: Higher than any known network of this kind: it may have had access to the HR image.",
}


def flag_words(flag: Flag) -> tuple[str, str]:
    """Return what a flag is called, and why it matters; its code and nothing for one that is not known here."""
    title, _, why = _FLAGS.get(flag.code, flag.code).partition(": ")
    return title, why
