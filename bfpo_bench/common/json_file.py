"""JSON files that somebody else may have written, read so that whatever stands in them is harmless.

A run directory is copied, cut short, edited and sent around: its files are opened by this, and what
they say is then checked by :mod:`.validate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.foreign import foreign_json
from bfpo_bench.common.text import valid_text
from bfpo_bench.common.validate import validated

T = TypeVar("T")

LARGEST = 256 * 2**20
"""Bytes that a file may have; the largest that we write are a hundredth of it."""


def read_json(path: Path) -> Any:
    """The value that a file holds; its texts can all be written as UTF-8.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is no JSON in UTF-8, or too large or deep for one of ours; a clause says so.
    """
    return valid_text(foreign_json(path, LARGEST))


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
