"""The reference of docs is what the code says."""

from docs.reference import PAGE, commands, page
from tests.conftest import PROJECT


def test_the_reference_is_made_from_this_code():
    assert page() == PAGE.read_text(encoding="utf-8"), "run: python -m docs.reference"
    assert str(PROJECT) not in page().replace("\\", "")


def test_every_flag_says_what_it_does_in_a_sentence():
    for name, command in commands().items():
        for its in command.params:
            assert its.help, f"{name}: {its.name}"
            assert its.help[0].isupper(), f"{name}: {its.name}: {its.help}"
            assert its.help.endswith("."), f"{name}: {its.name}: {its.help}"
