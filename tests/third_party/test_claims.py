"""What a worker claims, beside what is known of its files."""

from typing import get_args

import pytest

from eval.metrics.figures import Flag, FlagCode
from eval.report.explanations import flag_words
from eval.third_party.claims import disagreement


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


@pytest.mark.parametrize("code", get_args(FlagCode))
def test_every_flag_is_explained(code: FlagCode):
    title, why = flag_words(Flag(code=code, text=""))
    assert title != code
    assert why
