"""The reference of docs is what the code says."""

from docs.reference import PAGE, page


def test_the_reference_is_made_from_this_code():
    assert page() == PAGE.read_text(encoding="utf-8"), "run: python -m docs.reference"
