"""JSON as everybody can read it: no half of a surrogate pair in any text."""

from __future__ import annotations

from typing import Any


def valid_text(value: Any) -> Any:
    r"""A JSON value whose texts can all be written as UTF-8.

    JSON may hold half of a surrogate pair (``"\ud800"``), which is no character. Strict readers,
    pyarrow's among them, refuse a whole file because of one, so it becomes its own escape: the six
    characters ``\ud800``.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [valid_text(part) for part in value]
    if isinstance(value, dict):
        return {valid_text(name): valid_text(part) for name, part in value.items()}
    return value
