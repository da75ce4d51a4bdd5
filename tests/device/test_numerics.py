"""TF32, cuDNN's choices and what a program has set are set for a block and restored, whichever way it has used."""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from eval.device.numerics import as_torch_ships, convolutions_take_tf32, cudnn_switches, products_take_tf32

CUDNN = torch.backends.cudnn


@pytest.mark.parametrize("tf32", [True, False])
def test_switches_are_set_and_restored(tf32: bool):
    before = CUDNN.conv.fp32_precision, CUDNN.benchmark, CUDNN.deterministic
    CUDNN.benchmark = True
    try:
        with cudnn_switches(tf32):
            assert convolutions_take_tf32() is CUDNN.allow_tf32 is tf32
            assert (CUDNN.benchmark, CUDNN.deterministic) == (False, False)
        assert CUDNN.benchmark
    finally:
        CUDNN.benchmark = before[1]
    assert (CUDNN.conv.fp32_precision, CUDNN.benchmark, CUDNN.deterministic) == before


def test_they_are_restored_after_an_error():
    before = convolutions_take_tf32()
    with pytest.raises(ZeroDivisionError), cudnn_switches(not before):
        raise ZeroDivisionError
    assert convolutions_take_tf32() == before


def test_a_program_that_used_the_other_way_breaks_nothing():
    before = CUDNN.conv.fp32_precision
    CUDNN.conv.fp32_precision = "ieee"
    try:
        assert not convolutions_take_tf32()
        with cudnn_switches(True):
            assert convolutions_take_tf32()
    finally:
        CUDNN.conv.fp32_precision = before
    assert products_take_tf32() is False


@pytest.mark.parametrize("said", ["high", "medium"])
def test_what_a_program_has_said_of_matrix_products_in_the_older_way_can_be_read_and_comes_back(said: str):
    """torch raises where it was said in one way and is then read in the other."""
    products = torch.backends.cuda.matmul
    torch.set_float32_matmul_precision(said)
    try:
        with cudnn_switches(False):
            assert not products_take_tf32()
            assert not products.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
        assert products_take_tf32()
        assert products.allow_tf32
        assert torch.get_float32_matmul_precision() == said
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("said_for", [torch.backends, CUDNN, torch.backends.cuda.matmul])
def test_no_tf32_is_none_whatever_a_program_has_said_for_all(said_for):
    before = said_for.fp32_precision
    said_for.fp32_precision = "tf32"
    try:
        with cudnn_switches(False):
            assert not convolutions_take_tf32()
            assert not products_take_tf32()
        assert said_for.fp32_precision == "tf32"
    finally:
        said_for.fp32_precision = before


@pytest.fixture
def other_state() -> Iterator[None]:
    """All that a program can set for networks that are not its own."""
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        stack.callback(torch.set_default_device, None)
        torch.set_default_device("meta")
        stack.callback(torch.set_float32_matmul_precision, "highest")
        torch.set_float32_matmul_precision("medium")
        stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        stack.callback(register_module_forward_pre_hook(lambda _module, given: (given[0] * 3,)).remove)
        stack.callback(register_module_forward_hook(lambda _module, _given, made: made * 5).remove)
        yield


def result() -> tuple:
    """What a layer makes of 7, and how; a product that bfloat16 has no digits for shows its precision."""
    layer = nn.Linear(1, 1, bias=False, device="cpu", dtype=torch.float32)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        made = layer(torch.tensor([[7.0]], device="cpu", dtype=torch.float32))
    return made.item(), made.dtype, torch.empty(1).dtype, str(torch.empty(1).device)


@pytest.mark.usefixtures("other_state")
@pytest.mark.parametrize("inside", [False, True], ids=["set for all", "and in a block"])
def test_what_a_program_has_set_is_set_aside_and_comes_back(inside: bool):
    plain, theirs = (7.0, torch.float32, torch.float32, "cpu"), (105.0, torch.bfloat16, torch.float64, "meta")
    with torch.device("meta") if inside else nullcontext():
        assert result() == theirs
        with as_torch_ships():
            assert result() == plain
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.mkldnn.matmul.fp32_precision != "bf16"
            with as_torch_ships():
                assert result() == plain
            assert result() == plain
        assert result() == theirs
    assert result() == theirs
    assert torch.get_float32_matmul_precision() == "medium"
    assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"


@pytest.mark.parametrize("operator", ["conv", "matmul", "rnn"])
def test_float32_on_the_cpu_is_float32(operator: str):
    its = getattr(torch.backends.mkldnn, operator)
    its.fp32_precision = "bf16"
    try:
        with as_torch_ships():
            assert its.fp32_precision == "ieee"
        assert its.fp32_precision == "bf16"
    finally:
        its.fp32_precision = "none"


def test_so_are_products_by_torch_s_newer_switch():
    products = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "tf32"
    try:
        with as_torch_ships():
            assert not products_take_tf32()
        assert products_take_tf32()
    finally:
        products.fp32_precision = before
