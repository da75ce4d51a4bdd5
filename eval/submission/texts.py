"""The texts of ``templates/``."""

from pathlib import Path
from string import Template

_TEMPLATES = Path(__file__).parent / "templates"


def filled(template: str, /, **words: object) -> str:
    """Return the text ``template.txt`` with its words put in."""
    return Template((_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute(words)
