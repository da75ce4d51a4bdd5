"""From an exception in third-party code to a state and a line."""

import pickle

import pytest
import torch

from eval.records.record import State
from eval.third_party.connection import _told
from eval.third_party.faults import SubmissionError, described, one_line

# What torch puts behind any error of CUDA.
CUDA_ADDS = (
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable it."
)


def chained() -> Exception:
    error = RuntimeError("cannot import")
    error.__cause__ = ImportError("no kernels", name="mamba_ssm.ops")
    return error


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ImportError("x", name="mamba_ssm.ops.scan"), State.NEEDS_OPERATOR),
        (ImportError("x", name="einops"), State.MISSING_DEPENDENCY),
        (ImportError("x"), State.MISSING_DEPENDENCY),
        (chained(), State.NEEDS_OPERATOR),
        (RuntimeError("Error building extension: nvcc not found"), State.NEEDS_OPERATOR),
        (AssertionError("Jiterator is only supported on CUDA and ROCm GPUs"), State.NEEDS_OPERATOR),
        (MemoryError(), State.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("x"), State.OUT_OF_MEMORY),
        (RuntimeError(f"CUDA error: out of memory\n{CUDA_ADDS}"), State.OUT_OF_MEMORY),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), State.OUT_OF_MEMORY),
        (RuntimeError(f"CUDA error: an illegal memory access was encountered\n{CUDA_ADDS}"), State.FAILED_TO_RUN),
        (RuntimeError(f"CUDA error: device-side assert triggered\n{CUDA_ADDS}"), State.FAILED_TO_RUN),
        (RuntimeError(f"CUDA error: no kernel image is available for execution\n{CUDA_ADDS}"), State.NEEDS_OPERATOR),
        (RuntimeError(f"CUDA error: no CUDA-capable device is detected\n{CUDA_ADDS}"), State.NEEDS_OPERATOR),
        (RuntimeError(f"CUDA error: invalid device ordinal\n{CUDA_ADDS}"), State.NEEDS_OPERATOR),
        (RuntimeError("Found no NVIDIA driver on your system. Please check that"), State.NEEDS_OPERATOR),
        (RuntimeError("[enforce fail] can't allocate memory: 99 bytes"), State.OUT_OF_MEMORY),
        (FileNotFoundError(2, "No such file", "model_zoo/x.pth"), State.MISSING_CHECKPOINT),
        (FileNotFoundError(2, "No such file", "other.txt"), State.FAILED_TO_RUN),
        (OSError(28, "No space left on device"), State.IO_FAILED),
        (OSError(27, "File too large"), State.IO_FAILED),
        (OSError(122, "Disk quota exceeded"), State.IO_FAILED),
        (pickle.UnpicklingError("x"), State.FAILED_TO_LOAD),
        (RuntimeError("Error(s) in loading state_dict for X: missing"), State.FAILED_TO_LOAD),
        (SubmissionError(State.REFUSED, "x"), State.REFUSED),
        (KeyboardInterrupt(), State.FAILED_TO_RUN),
    ],
)
def test_states(error: BaseException, state: State):
    assert described(error, State.FAILED_TO_RUN)["state"] == state


@pytest.mark.parametrize("state", [*State, "no state", None, ["killed"]])
def test_a_worker_tells_what_it_can_know_of_itself(state: object):
    """What became of machine, files or process is the harness's to say: "device failed" ends the whole command."""
    ours = {State.RAN, State.TIMED_OUT, State.KILLED, State.DEVICE_FAILED, State.ENGINE_FAILED}
    ours |= {State.SOURCE_CHANGED, State.FILES_CHANGED}
    own = isinstance(state, State) and state not in ours
    assert _told({"state": state, "text": "x"}).state == (state if own else State.FAILED_TO_RUN)


def test_third_party_text_is_one_short_line_of_plain_text():
    text = described(ValueError("\x1b[31mred\n\tand \u202ebackwards " + "long " * 500), State.FAILED_TO_RUN)["text"]
    assert text.startswith("ValueError: ?[31mred and ?backwards long")
    assert len(text) <= 301
    assert text.isprintable()
    assert one_line("") == ""
    assert described(ValueError(), State.FAILED_TO_RUN)["text"] == "ValueError: no reason given"


def test_a_long_reason_ends_at_its_cause():
    trace = "\n".join(f'  File "a.py", line {line}, in f\n    g()' for line in range(40))
    said = f"Error building extension:\nTraceback (most recent call last):\n{trace}\nOSError: CUDA_HOME is not set\n"
    assert one_line(said) == "Error building extension: OSError: CUDA_HOME is not set"
    long = one_line("RuntimeError: " + "word " * 200 + "size mismatch for body.weight")
    assert long.startswith("RuntimeError: word")
    assert long.endswith("word size mismatch for body.weight")
    assert len(long) == 300
