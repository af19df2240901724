"""Checkable constraints of the mini suite's instructions: whether a response meets its own.

``sources/mini/README.md`` describes the kinds. White space around a response is cut off first, a
word is what stands between white space, and an empty response meets no constraint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from bfpo_bench.common.errors import BadInput, unknown_name

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)


def meets(constraint: Mapping[str, Any], response: str) -> bool:
    """Whether a response meets a constraint such as ``{"kind": "max_words", "value": 12}``.

    Raises:
        BadInput: there is no such kind, or it lacks its parameter.
    """
    kind = str(constraint.get("kind"))
    if kind not in CHECKS:
        raise unknown_name("kind of constraint", kind, CHECKS)
    parameters = {name: value for name, value in constraint.items() if name != "kind"}
    text = response.strip()
    try:
        return bool(text) and CHECKS[kind](text, **parameters)
    except TypeError:
        raise BadInput(
            f"the constraint {json.dumps(dict(constraint))} has not the parameters of its kind; "
            "see sources/mini/README.md."
        ) from None


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refused), dict | list)
    except (ValueError, RecursionError):
        return False


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


CHECKS: dict[str, Callable[..., bool]] = {
    "max_words": lambda text, value: len(text.split()) <= value,
    "min_words": lambda text, value: len(text.split()) >= value,
    "contains": lambda answer, *, text: text.casefold() in answer.casefold(),
    "not_contains": lambda answer, text: text.casefold() not in answer.casefold(),
    "starts_with": lambda answer, text: answer.startswith(text),
    "ends_with": lambda answer, text: answer.endswith(text),
    "line_count": lambda text, value: sum(map(bool, map(str.strip, text.splitlines()))) == value,
    "all_lowercase": lambda text: text == text.lower() and text != text.upper(),
    "all_uppercase": lambda text: text == text.upper() and text != text.lower(),
    "is_json": _is_json,
    "is_number": lambda text, value: (
        _NUMBER.fullmatch(text) is not None and len(text) < 100 and float(text) == value
    ),
}
"""What a kind asks of a response that is not empty, by name."""
