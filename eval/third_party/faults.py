"""From an exception in third-party code to a state and one line why."""

import errno
import pickle
import re
import traceback
from collections.abc import Callable
from pathlib import Path

from eval.device.exhausted import is_exhausted
from eval.records.record import State
from eval.words import printable

# Packages whose kernels exist for CUDA only.
CUDA_PACKAGES = (
    "mamba_ssm", "causal_conv1d", "selective_scan", "selective_scan_cuda", "span_attention", "triton", "cupy",
    "pycuda", "jiterator", "flash_attn", "natten", "spatial_correlation_sampler", "dcn_v2",
)  # fmt: skip
_CUDA_WORDS = re.compile(
    # Of errors of CUDA itself, only those that say that there is no device, or no kernel for it. Whatever failed, torch
    # goes on with "CUDA kernel errors might be asynchronously reported".
    r"nvcc|CUDA_HOME|CUDA kernel(?! errors might)|no kernel image|not compiled with CUDA|No CUDA|No HIP|CUDA extension"
    r"|NVIDIA driver on your system|CUDA error: (invalid device|CUDA driver version)|only supported on CUDA",
    re.I,
)
# A GPU that the harness has and its sandbox does not is no fault of the network's.
NO_GPU = (
    "--device cuda: the sandbox has no GPU: {}; use --device cpu, or --sandbox none, which gives their code your full"
    " permissions"
)
_MAX_CHARS, _BEGINNING = 300, 180
_TRACEBACK = "Traceback (most recent call last)"
# What a user can mend: a full disk, a used-up quota or limit, a disk that fails.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_MAX_TRACE_CHARS = 20_000


class SubmissionError(Exception):
    """A fault whose state is known where it is raised."""

    def __init__(self, state: State, text: str) -> None:
        super().__init__(text)
        self.state = state


def described(error: BaseException, otherwise: State, named: Callable[[str], str] = str) -> dict[str, str]:
    """Return an exception's state (``otherwise`` if it says nothing of it), one line why, and where it came from.

    ``named`` writes a text with the names of files as they are to be told.
    """
    said = str(error) or "no reason given"
    text = said if isinstance(error, SubmissionError) else f"{type(error).__name__}: {said}"
    trace = named("".join(traceback.format_exception(error)))[-_MAX_TRACE_CHARS:]
    return {"state": (_state(error) or otherwise).value, "text": one_line(named(text)), "trace": trace}


def plain_lines(text: str) -> str:
    """Return the end of third-party text, lines kept, in characters that are safe to print."""
    return "\n".join(map(printable, text[-_MAX_TRACE_CHARS:].split("\n")))


def one_line(text: str) -> str:
    """Return third-party text as one line that is safe to print, not longer than a table can bear."""
    plain = printable(" ".join(_without_traceback(text).split()))
    return plain if len(plain) <= _MAX_CHARS else f"{plain[:_BEGINNING]} … {plain[_BEGINNING + 3 - _MAX_CHARS :]}"


def _without_traceback(text: str) -> str:
    """Leave out what stands between the beginning of a text and the cause that a traceback in it ends with."""
    before, mark, inside = text.partition(_TRACEBACK)
    # What a traceback ends with is not indented.
    causes = [line for line in inside.splitlines()[1:] if line.strip() and not line[:1].isspace()]
    return f"{before} {causes[-1] if causes else ''}" if mark else text


def _state(error: BaseException) -> State | None:
    for cause in _chain(error):
        if isinstance(cause, SubmissionError):
            return cause.state
        if isinstance(cause, ImportError):
            package = (cause.name or "").split(".")[0]
            return State.NEEDS_OPERATOR if package in CUDA_PACKAGES else State.MISSING_DEPENDENCY
        if is_exhausted(cause):
            return State.OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return State.IO_FAILED
    if isinstance(error, FileNotFoundError) and "model_zoo" in str(error):
        return State.MISSING_CHECKPOINT
    if _CUDA_WORDS.search(str(error)):
        return State.NEEDS_OPERATOR
    files = {Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__)}
    loading = isinstance(error, pickle.UnpicklingError) or "Error(s) in loading state_dict" in str(error)
    return State.FAILED_TO_LOAD if loading or "serialization.py" in files else None


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and what it says it comes from."""
    chain = [error]
    while chain[-1].__cause__ is not None and len(chain) < 10:
        chain.append(chain[-1].__cause__)
    return chain
