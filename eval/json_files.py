"""JSON files of users: what they hold, or what keeps them from being JSON, in words that say what to do."""

import json
from typing import Any

from eval.contents import not_itself, text_of


class NoJsonError(ValueError):
    """Bytes are no JSON; the message says what they are instead, or where they break off."""


def json_of(data: bytes, **hooks: Any) -> Any:
    """Return what JSON holds, in whatever encoding it was saved; ``hooks`` are those of ``json.loads``.

    Raises:
        NoJsonError: it is none.
    """
    if fault := not_itself(data):
        raise NoJsonError(f"got {fault}")
    try:
        return json.loads(text_of(data), **hooks)
    except (ValueError, RecursionError) as error:
        raise NoJsonError(_where_it_ends(error, data) or str(error)) from error


def _where_it_ends(error: BaseException, data: bytes) -> str | None:
    """Return that a file ends early, with the byte, where that is its fault."""
    at_end = isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    )
    return f"it ends early, at byte {len(data):,}: copy or download it again" if at_end else None
