"""The faults that are planted: which there are, each in the text of its module."""

import ast

from bench.mutants import mutants_of

SOURCE = '''"""A module."""


def told(a: int, b: int = 2) -> dict:
    """Say it."""
    if a < b and b:
        return {"sum": a + b, "pair": (a, b)}
    return dict(known={a, b}, of=a)
'''
EXPECTED = {
    "told: 2 -> 3",
    "told: a < b -> a <= b",
    "told: a < b and b -> a < b or b",
    "told: a < b and b -> b",
    "told: a < b and b -> a < b",
    "told: a + b -> a - b",
    "told: (a, b) -> (b,)",
    "told: (a, b) -> (a,)",
    "told: {'sum': a + b, 'pair': (a, b)} -> {'pair': (a, b)}",
    "told: {'sum': a + b, 'pair': (a, b)} -> {'sum': a + b}",
    "told: dict(known={a, b}, of=a) -> dict(of=a)",
    "told: dict(known={a, b}, of=a) -> dict(known={a, b})",
    "told: {a, b} -> {b}",
    "told: {a, b} -> {a}",
}


def test_each_fault_changes_or_leaves_out_one_thing():
    found = mutants_of(SOURCE)
    assert {its.what for its in found} == EXPECTED
    assert len(found) == len(EXPECTED)
    plain = ast.unparse(ast.parse(SOURCE))
    assert all(ast.parse(its.text) and its.text != plain for its in found)


def test_faults_know_their_lines():
    assert {its.line for its in mutants_of(SOURCE) if "sum" in its.what} == {7}


def test_words_and_checks_of_equal_lengths_are_spared():
    found = {its.what for its in mutants_of('zip(a, strict=True)\nField(1, description="words", ge=0)\n')}
    assert found == {
        "module: zip(a, strict=True) -> pass",
        "module: Field(1, description='words', ge=0) -> pass",
        "module: Field(1, description='words', ge=0) -> Field(1, description='words')",
        "module: 1 -> 2",
        "module: 0 -> 1",
    }
