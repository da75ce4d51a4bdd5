"""What networks return that is no image, in words, with what to return."""

import pytest
import torch

from eval.inference.outputs import output_in_words, what_to_return

SR, FEATURES = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 2, 2, dtype=torch.float16)


@pytest.mark.parametrize(
    ("output", "words", "advice"),
    [
        ((SR, FEATURES), "a tuple of 2: float32 (1, 3, 8, 8), float16 (1, 3, 2, 2)", "super().forward(x)[0]"),
        ([FEATURES, SR], "a list of 2: float16 (1, 3, 2, 2), float32 (1, 3, 8, 8)", "super().forward(x)[1]"),
        ({"sr": SR}, "a dict of 1: 'sr': float32 (1, 3, 8, 8)", "super().forward(x)['sr']"),
        ((SR, (None, 3)), "a tuple of 2: float32 (1, 3, 8, 8), a tuple of 2: NoneType, int", "[0]"),
        (SR[0], "float32 (3, 8, 8)", "the batch axis is missing: return it with [None]"),
        (None, "NoneType", ""),
        (FEATURES, "float16 (1, 3, 2, 2)", ""),
    ],
)
def test_output_in_words(output: object, words: str, advice: str):
    assert output_in_words(output) == words
    told = what_to_return(output, (1, 3, 8, 8))
    assert told.endswith(advice)
    assert bool(told) == bool(advice)
