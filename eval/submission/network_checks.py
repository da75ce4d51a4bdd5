"""Checks that judge what running an entry has shown, and its figures by the challenge's rules."""

from collections.abc import Callable
from functools import wraps

from eval.metrics.figures import FlagCode
from eval.metrics.trials import LARGEST_SIDE, Trials
from eval.ranking.gates import Role
from eval.records.record import State
from eval.submission.findings import Finding, failed, not_checked, passed, warned
from eval.submission.subject import Facts

# Of the data range: far under a grey level, far over float32's rounding.
_SAME = 1e-4
# By which PSNR another data range must be better to be the one that is meant.
_CLEARLY_DB = 0.5
_POOR_DB = 20.0
# A grey level at a tile's edge is rounding of the blend.
_TILES_AGREE = 2.0
_CHALLENGE_SIDE = 16
_UNKNOWN = "it could not be run"
_ON_CPU = "build and run it on a CPU first: it must ask for no GPU by itself"
_PLAIN_WEIGHTS = "torch.save(network.state_dict(), FILE) of this very network"
# By the state of an entry that does not run, where it tells what to do.
_FIXES: dict[State | None, str] = {
    State.REFUSED: _PLAIN_WEIGHTS,
    State.FAILED_TO_LOAD: _PLAIN_WEIGHTS,
    State.MISSING_CHECKPOINT: "put the file where it is looked for",
    State.MISSING_DEPENDENCY: "do without the package, or install it: the organisers' machine may lack it",
    State.OUT_OF_MEMORY: "give it more memory, or let it need less",
}
# By the code of a flag: what is so without it, and what to do about it.
_FREE_OF: dict[FlagCode, tuple[str, str]] = {
    "parameters": (
        "forward writes no parameter and no buffer",
        "fuse once, before weights are saved: submit the deploy form",
    ),
    "precision": ("all tensors are float32 inside", "entries are compared in float32: remove .half() and autocast"),
    "input": (
        "as many FLOPs for noise as for a black image",
        "FLOPs are published for a black image: say both figures, or do the same for all",
    ),
}


def _of_trials(check: Callable[[Trials], Finding]) -> Callable[[Facts], Finding]:
    """Return a check of what trials showed as one of an entry, which may not have come so far."""

    @wraps(check)
    def of_entry(facts: Facts) -> Finding:
        return not_checked(_UNKNOWN) if facts.trials is None else check(facts.trials)

    return of_entry


def runs(facts: Facts) -> Finding:
    """Does it build on a CPU, load its weights and run?"""
    if facts.fault:
        return failed(facts.fault, _FIXES.get(facts.state, _ON_CPU))
    cuda = [shim for shim in facts.shims if "cuda" in shim.lower() or "map_location" in shim]
    if cuda:
        why = f"it runs on a CPU only with help: {', '.join(cuda)}"
        return warned(why, "use the device that select_model is given")
    return passed("it builds on a CPU, takes its weights strictly and runs")


@_of_trials
def data_range(trials: Trials) -> Finding:
    """Is its data range the one that it was trained with?"""
    psnr_db = trials.psnr_db
    (stated, own), *others = psnr_db.items()
    best, other = max(others, key=lambda item: item[1], default=(stated, own))
    shown = ", ".join(f"{value:.1f} dB with range {name}" for name, value in psnr_db.items())
    if other > own + _CLEARLY_DB:
        return failed(f"a drawn image has {shown}", f"its data range seems to be {best}, not {stated}: correct it")
    if own < _POOR_DB:
        return warned(f"a drawn image has {shown}", "neither gives an enlargement: are the weights the trained ones?")
    return passed(f"a drawn image has {shown}")


@_of_trials
def sizes(trials: Trials) -> Finding:
    """Is the output four times as large, whatever the size?"""
    wrong = {size: fault for size, fault in trials.sizes.items() if fault}
    if wrong:
        size, fault = next(iter(wrong.items()))
        return failed(f"{', '.join(wrong)} fail; at {size}: {fault}", "pad inside forward and crop the output to 4x")
    return passed(f"right at {', '.join(trials.sizes)}")


@_of_trials
def least_size(trials: Trials) -> Finding:
    """From which size on does it run?"""
    least = trials.least_side
    if least is None:
        why = f"no square of up to {LARGEST_SIDE}x{LARGEST_SIDE} pixels gives one that is four times as large"
        return failed(why, "see Output size, which says what comes instead")
    if least > _CHALLENGE_SIDE:
        fix = "tiles and small photographs will fail: pad in forward"
        return warned(f"squares of less than {least} pixels fail", fix)
    return passed(f"runs from {least}x{least} pixels on")


@_of_trials
def finite(trials: Trials) -> Finding:
    """Are all outputs numbers?"""
    wrong = trials.not_finite
    if "a drawn image" in wrong:
        return failed("an ordinary image gives NaN or infinity", "look for an overflow or a division by zero")
    if wrong:
        return warned(f"NaN or infinity for {', '.join(wrong)}", "no photograph, but a plain patch of one can be so")
    return passed("numbers for a drawn image, black, white and noise")


@_of_trials
def deterministic(trials: Trials) -> Finding:
    """Does one image give one output?"""
    if trials.after_another > _SAME:
        return not_checked("it cannot be told while it keeps state")
    if trials.again > _SAME:
        why = f"the same image twice differs by {trials.again:.1e} of the range"
        return failed(why, "draw nothing at random in forward: no dropout, no noise, no gumbel sampling")
    return passed("the same image twice gives the same output")


@_of_trials
def no_state(trials: Trials) -> Finding:
    """Is nothing kept from one image to the next?"""
    if trials.after_another > _SAME:
        why = f"after another image the output differs by {trials.after_another:.1e} of the range"
        return failed(why, "keep nothing between images: no buffers that forward writes, no caches by value")
    return passed("an image gives the same output after another one")


def free_of(facts: Facts, code: FlagCode) -> Finding:
    """Is there no flag of a kind: of parameters that are written, of other types, of FLOPs that depend on the image?"""
    if facts.fault or facts.analysis.complexity is None:
        return not_checked(_UNKNOWN if facts.fault else "it has no weights, or could not be counted")
    flags, (clean, fix) = _flags(facts, code), _FREE_OF[code]
    return failed("; ".join(flags), fix) if flags else passed(clean)


@_of_trials
def deploy_form(trials: Trials) -> Finding:
    """Are there no training branches left?"""
    if trials.idle:
        return warned(trials.idle, "they count as parameters: leave them out of the deploy form")
    if trials.branches:
        return warned("; ".join(trials.branches), "fuse them into one convolution: less time for the same output")
    return passed("nothing is left that could be fused, and every parameter is read")


@_of_trials
def batch(trials: Trials) -> Finding:
    """Do images of a batch not see each other?"""
    if trials.in_batch is None:
        return warned(f"two images together fail: {trials.batch_fault}", "write no batch size of 1 into views")
    if trials.in_batch > _SAME:
        why = f"together, two images differ by {trials.in_batch:.1e} of the range from each alone"
        return failed(why, "normalise over each image alone, in eval mode")
    return passed("two images together give what each gives alone")


def tiles(facts: Facts) -> Finding:
    """Do tiles give what the whole image gives?"""
    if facts.tiles is None:
        return not_checked(_UNKNOWN)
    if facts.tiles > _TILES_AGREE:
        why = f"with 16 pixels of context, tiles differ from the whole image by up to {facts.tiles:.0f} grey levels"
        return Finding("note", why, "large images want a large overlap; the challenge runs whole images")
    return passed(f"tiles differ from the whole image by {facts.tiles:.0f} grey levels at most")


def flops_counted(facts: Facts) -> Finding:
    """Does the challenge's counter see all of its work?"""
    flags = _flags(facts, "uncounted", "counters", "operators", "bound", "weights", "counts")
    if facts.analysis.complexity is None:
        return not_checked(flags[0] if flags else "it has no weights, or could not be run")
    if flags:
        fix = "say so in the factsheet, with a count by hand; use standard convolutions where you can"
        return warned("; ".join(flags), fix)
    its = facts.analysis.complexity
    return passed(f"{(its.flops or 0) / 1e9:.2f} G FLOPs, {its.num_params / 1e6:.3f} M parameters, by two counters")


def gate(facts: Facts, role: Role) -> Finding:
    """Is the PSNR above the edition's gate?"""
    rule = next((its for its in facts.edition.gates if its.role == role), None)
    if rule is None or rule.psnr_db is None:
        return not_checked(f"the edition of {facts.edition.year} has no such gate")
    verdict = rule.judge(facts.psnr_db.get(role))
    if verdict is None:
        return not_checked(f"{' or '.join(rule.sets)} with {rule.images} HR images is not in --data_dir")
    margin = verdict.psnr_db - verdict.least_db
    digits = max(4, rule.decimals + 2)
    why = f"{verdict.psnr_db:.{digits}f} dB against {verdict.least} ({margin:+.{digits}f})"
    if not verdict.rounded:
        return failed(f"{why}: fails, also as printed", "train on, or prune less")
    if not verdict.strict:
        return warned(f"{why}: passes as printed, and fails unrounded", "a gate that is read strictly keeps it out")
    return passed(f"{why}: passes as printed and unrounded")


def score(facts: Facts) -> Finding:
    """What is its score beside the baseline's?"""
    if facts.score is None:
        return not_checked(facts.score_fault or "it needs runtimes of this machine: give --time")
    own, baseline = facts.score
    why = f"{own:.3f}, the baseline {baseline:.3f} (less is better; timed together on this machine)"
    if own > baseline:
        return warned(f"{why}: behind the baseline", "the rank follows from it: runtime counts most")
    return passed(why)


def _flags(facts: Facts, *codes: FlagCode) -> list[str]:
    """Return what the flags of some kinds say."""
    return [flag.text for flag in facts.analysis.flags if flag.code in codes]
