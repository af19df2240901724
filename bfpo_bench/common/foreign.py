"""Files that somebody else wrote, read up to a limit: damaged ones may have any size.

A pipe or a device is no file here: it might give nothing, or never end.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MIB = 1 << 20

DEEPEST = 60
"""Levels of lists and keys in a JSON file; what walks through them has room for all."""


def check_is_file(path: Path) -> None:
    """Raises OSError where there is none to be opened, be it a folder, a pipe or a device."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, and no file", str(path))


def place_of(path: Path) -> Path:
    """Where links lead to; a path whose links go round in a circle, and cannot be opened, too."""
    return Path(os.path.realpath(path))


def foreign_bytes(path: Path, most: int | None = None) -> bytes:
    """What a file holds.

    Args:
        most: bytes that are read at most; None for data, of which anybody may have any amount.

    Raises:
        OSError: it cannot be read, or is none.
        ValueError: it holds more.
    """
    check_is_file(path)
    if most is None:
        return path.read_bytes()
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
        value = json.loads(text)
        if not _is_deeper(value, DEEPEST):
            return value
    except RecursionError:
        pass
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise ValueError("a number in it has more than 4,000 digits") from None
    raise ValueError(f"lists and keys stand in each other more than {DEEPEST} levels deep")


def _is_deeper(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(
        _is_deeper(one, levels - 1) for one in inside if isinstance(one, dict | list)
    )
