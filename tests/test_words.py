import pytest

from eval.words import counted, first_of, listed


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [(0, "image", "0 images"), (1, "image", "1 image"), (5, "image", "5 images"), (1, "process", "1 process"),
     (2, "process", "2 processes")],
)  # fmt: skip
def test_a_noun_follows_its_number(number, noun, words):
    assert counted(number, noun) == words


def test_a_list_reads_as_in_a_sentence():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_a_long_list_says_how_many_more_there_are():
    assert [first_of(["a", "b"], 2), first_of(["a", "b", "c", "d"], 2)] == ["a, b", "a, b and 2 more"]
