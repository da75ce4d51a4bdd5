"""TF32 and cuDNN's choices are set for a block and restored, whichever of torch's ways a program has used."""

import pytest
import torch

from eval.device.numerics import convolutions_take_tf32, cudnn_switches, products_take_tf32

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
