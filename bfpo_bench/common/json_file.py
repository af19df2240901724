"""JSON files that somebody else may have written, read so that whatever stands in them is harmless.

A run directory is copied, cut short, edited and sent around: its files are opened by this, and what
they say is then checked by :mod:`.validate`.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, TypeVar

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.text import valid_text
from bfpo_bench.common.validate import validated

T = TypeVar("T")

LARGEST = 256 * 2**20
"""Bytes that a file may have; the largest that we write are a hundredth of it."""

DEEPEST = 60
"""Levels of lists and keys inside each other; what walks through them has room for all."""


def read_json(path: Path) -> Any:
    """The value that a file holds; its texts can all be written as UTF-8.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is no JSON in UTF-8, or too large or deep for one of ours; a clause says so.
    """
    # Before it is opened: a pipe would be waited for.
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise ValueError("it is no file")
    if about.st_size > LARGEST:
        raise ValueError(f"it has {about.st_size:,} bytes, and none of ours more than {LARGEST:,}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        value = None
        deep = True
    else:
        deep = _is_deeper(value, DEEPEST)
    if deep:
        raise ValueError(f"lists and keys stand in each other more than {DEEPEST} levels deep")
    return valid_text(value)


def of_kind(kind: type[T], content: Any, file: Path, advice: str) -> T:
    """What a file holds as a value of a type (:func:`bfpo_bench.common.validate.validated`).

    Args:
        advice: what to do where it is none.

    Raises:
        BadInput: it is none; says what is wrong where.
    """
    try:
        return validated(kind, content, file.name)
    except BadInput as error:
        wrong = str(error).removesuffix("; add it.").rstrip(".")
        raise BadInput(f"{file} is damaged ({wrong}); {advice}") from error


def _is_deeper(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(
        _is_deeper(one, levels - 1) for one in inside if isinstance(one, dict | list)
    )
