"""Files that somebody else wrote, read up to a limit: damaged ones may have any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MIB = 1 << 20


def foreign_bytes(path: Path, most: int) -> bytes:
    """What a file holds.

    Args:
        most: bytes that are read at most.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds more.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is longer than {most / MIB:g} MiB")
    return content


def foreign_text(path: Path, most: int) -> str:
    """The same as a text in UTF-8, lines ended by line feeds; raises as :func:`foreign_bytes`."""
    try:
        text = foreign_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def foreign_json(path: Path, most: int) -> Any:
    """The value in a JSON file; raises as :func:`foreign_bytes`, also where it is none."""
    text = foreign_text(path, most)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise ValueError("a number in it has more than 4,000 digits") from None
