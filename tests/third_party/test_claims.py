"""What a worker claims, beside what is known of its files."""

from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch

from eval.device.numerics import convolutions_take_tf32, cudnn_switches
from eval.metrics.figures import Flag, FlagCode
from eval.report.explanations import flag_words
from eval.run.failures import CannotRunError
from eval.third_party.claims import checked_complexity, checked_state, disagreement
from eval.third_party.remote import SandboxedUpscaler
from eval.third_party.wire import Message
from eval.third_party.worker import Worker


@pytest.mark.parametrize(
    ("num_params", "weights_bytes", "told"),
    [
        # float32, half precision, a byte each; with an average and two moments of an optimizer.
        (1_000_000, 4_010_000, False),
        (1_000_000, 2_010_000, False),
        (1_000_000, 1_010_000, False),
        (1_000_000, 16_060_000, False),
        # A claim of a tenth, and more parameters than bytes.
        (100_000, 4_010_000, True),
        (1_000_000, 900_000, True),
        # A small file is nearly all names.
        (1, 60_000, False),
        (None, 4_000_000, False),
        (1_000_000, None, False),
    ],
)
def test_counts_are_compared_with_the_size_of_the_file(num_params, weights_bytes, told: bool):
    fault = disagreement(num_params, weights_bytes)
    assert bool(fault) == told
    if told:
        assert f"{num_params:,} parameters" in fault
        assert f"{weights_bytes:,} bytes" in fault


def test_a_state_dict_is_known_by_names_and_types():
    found = checked_state({"a.weight": "float16", "a.count": "int64"})
    assert {name: (value.dtype, value.numel()) for name, value in found.items()} == {
        "a.weight": (torch.float16, 0),
        "a.count": (torch.int64, 0),
    }


def test_what_follows_from_counts_or_is_counted_apart_is_no_claim():
    claim = {"input_side": 8, "num_params": 3, "flops": 7, "flops_by_dispatcher": 7, "flops_bound": 7}
    claim |= {"activations": 1, "num_conv": 1, "uncounted_ops": {}, "suspect_ops": [], "flops_apart": 7}
    found = checked_complexity({"complexity": claim})
    assert (found.input_side, found.flops_bound, found.flops_apart) == (256, 3 * 256**2, None)
    assert found.flops == 7


@pytest.mark.parametrize("told", [None, ["a"], {"a": "quint8"}, {"a": "load"}, {"a": None}, {"a": ["float32"]}])
def test_what_is_no_state_dict_is_refused(told):
    with pytest.raises(CannotRunError, match="its process did not name its weights"):
        checked_state(told)


@pytest.mark.parametrize("code", get_args(FlagCode))
def test_every_flag_is_explained(code: FlagCode):
    title, why = flag_words(Flag(code=code, text=""))
    assert title != code
    assert why


class Asked:
    """A connection whose worker claims a time of the GPU; ``said`` is what it was asked, and what its processes did."""

    def __init__(self, claim: object) -> None:
        self.claim, self.said = claim, []
        self.sandboxed = SimpleNamespace(rest=lambda: self.said.append("rest"))

    def ask(self, operation: str, payload: bytes = b"", **header: object) -> tuple[Message, float]:
        self.said.append((operation, len(payload), header) if payload else operation)
        return Message({"ms": self.claim}), 0.0


@pytest.mark.parametrize(
    ("claim", "taken"),
    [(1.5, 1.5), (None, None), (0.0, None), (-1.0, None), (float("nan"), None), ("1", None), (1e9, None)],
)
def test_what_a_gpu_itself_works_is_asked_and_checked(claim: object, taken: float | None):
    asked = Asked(claim)
    upscaler = SandboxedUpscaler(None, torch.device("cuda"), asked, rests=True)
    assert upscaler.kernels_ms(np.zeros((4, 5, 3), np.uint8)) == taken
    assert asked.said == [("put", 60, {"height": 4, "width": 5}), "alone", "rest"]


def test_on_a_cpu_nobody_is_asked():
    asked = Asked(1.5)
    assert SandboxedUpscaler(None, torch.device("cpu"), asked).kernels_ms(np.zeros((4, 5, 3), np.uint8)) is None
    assert asked.said == []


def test_the_worker_answers_what_the_clock_reads(monkeypatch: pytest.MonkeyPatch):
    worker = Worker()
    worker.loaded, worker.lr = SimpleNamespace(forward="forward"), torch.ones(2)
    monkeypatch.setattr("eval.third_party.worker.kernels_ms", lambda forward, x: (forward, x is worker.lr))
    assert worker.answer(Message({"op": "alone"})).header == {"ms": ("forward", True)}


@pytest.mark.parametrize("tf32", [False, None])
@pytest.mark.parametrize("operator", ["conv", "matmul", "rnn"])
def test_a_cpu_computes_in_float32_whatever_a_submission_sets(tf32: bool | None, operator: str):
    worker, switch = Worker(), getattr(torch.backends.mkldnn, operator)
    worker.tf32, worker.loaded = tf32, SimpleNamespace(data_range=1.0, device=torch.device("cpu"))
    try:
        with cudnn_switches(False):
            switch.fp32_precision = "bf16"
            worker._put(Message({"height": 1, "width": 2}, bytes(6)))
            assert switch.fp32_precision == "ieee"
    finally:
        switch.fp32_precision = "none"


@pytest.mark.parametrize(("tf32", "holds"), [(False, True), (True, True), (None, False)])
def test_the_protocols_switches_hold_whatever_a_submission_sets(tf32: bool | None, holds: bool):
    """Many set cuDNN's trials, or TF32, where they are imported; with the template (None) that stands."""
    worker = Worker()
    worker.tf32, worker.loaded = tf32, SimpleNamespace(data_range=1.0, device=torch.device("cpu"))
    with cudnn_switches(False):
        torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, not tf32
        worker._put(Message({"height": 1, "width": 2}, bytes(6)))
        assert torch.backends.cudnn.benchmark is not holds
        assert convolutions_take_tf32() is (bool(tf32) if holds else True)
