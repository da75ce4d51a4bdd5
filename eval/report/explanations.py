"""What columns and flags mean, in a sentence each."""

from eval.metrics.figures import Flag
from eval.metrics.registry import METRICS

COLUMN_HELP = {
    "rank": "Place by the edition's main rule. A range means that paired runtimes do not settle the order, each pair "
    "of models compared by itself (pairwise 95% intervals). The baseline has no rank and stands at its score's place.",
    "score": "Weighted sum of exp(2 x figure / baseline's figure). The least wins; the baseline has 7.39.",
    **{row.key: f"{row.title}: {row.meaning}" for row in METRICS.values()},
    "psnr_db": f"{METRICS['psnr'].title}: {METRICS['psnr'].meaning} Below it the 95% interval of the difference to the "
    "baseline, paired by image, across the table; tied: the difference may be none.",
    "runtime_ms": "The network's forward pass on one image, mean over images. Below it the 95% "
    "interval of its ratio to the first model's time, drawn between the fastest and the slowest of the table.",
    "kernels_ms": "What the GPU itself works on an image, all kernels queued before the first one begins: without the"
    " CPU's part, which starts them one by one.",
    "p90_ms": "90% of all samples took at most so long.",
    "ratio": "Runtime over the baseline's, paired by image and round, with its 95% interval.",
    "num_params": "All parameters, trainable or not.",
    "flops": "Multiply-adds of one 256x256 input, by fvcore.",
    "flops_by_hooks": "Multiply-adds by the counter of 2022, which counts activations and overlooks functions.",
    "activations": "Output elements of all convolutions for one 256x256 input.",
    "num_conv": "Calls of convolutions.",
    "peak_memory_mib": "Peak memory of the run; how it was taken stands below the table.",
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
    "subnormal": "Subnormal numbers: A CPU multiplies by numbers below 1.2e-38 in up to a hundred times the time; a "
    "GPU does not mind.",
    "uncounted": "Cannot be counted: Something could not be counted, or it could not be inspected: that figure or "
    "flag is missing.",
    "late": "Works outside the clock: It does work outside of the timed forward pass, so its runtime is too low.",
    "turn": "Others' processors: It computes while others are timed, or with more threads than it was given.",
    "timed": "Times of other work: What it returned while it was timed is not what it returned when it was judged.",
    "stored": "Stored in another type: Its weights were kept in another type than float32, and converted.",
    "range": "Another data range: Its output is much brighter or darker than its input: perhaps it is untrained, or "
    "its data range is another one than is said.",
    "counts": "Counts in doubt: They come from a process that its own code shares. The size of its file of weights, or "
    "a graph of it that was run without its code, does not bear them out.",
    "psnr": "Implausible PSNR: Better than any network of this kind comes to: it may have seen the HR image.",
}


def flag_words(flag: Flag) -> tuple[str, str]:
    """Return what a flag is called, and why it matters; its code and nothing for one that is not known here."""
    title, _, why = _FLAGS.get(flag.code, flag.code).partition(": ")
    return title, why
