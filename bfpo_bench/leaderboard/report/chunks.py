"""Data files of the report.

A page opened from the disk cannot fetch a file, but it can load a script. Each data file is a
script of one call, ``bfpo("NAME","DATA")``, where DATA is JSON, compressed by gzip, in base64. So
whatever a model wrote, the file has only letters, digits, ``+``, ``/`` and ``=`` between its
quotes: nothing in it can end a string, a line or a script.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

ROWS_PER_CHUNK = 400
"""Samples in one file: about half a megabyte of text, a few hundredths of a second to open."""


def write_chunk(folder: Path, name: str, content: Any) -> None:
    """Writes ``NAME.js``.

    Args:
        name: lower-case letters, digits and ``-``.
        content: JSON values.
    """
    (folder / f"{name}.js").write_text(f'bfpo("{name}","{packed(content)}")\n', encoding="ascii")


def packed(content: Any) -> str:
    """JSON, compressed, in base64; equal contents give equal texts."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half a surrogate pair is no UTF-8; written as its escape it is still the same JSON string.
    data = text.encode("utf-8", "backslashreplace")
    return base64.b64encode(gzip.compress(data, 4, mtime=0)).decode("ascii")
