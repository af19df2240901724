"""Fingerprints of canonical rows.

A source's digest is the sha256 over the sorted canonical JSON lines of its rows: it does not
depend on the order of rows, on the file format or on fields that no task reads, so a hub copy, a
mirror and the published file of the same data agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from bfpo_bench.data.source import Row, Source


def canonical_line(source: Source, row: Row) -> bytes:
    """The digested part of a row as ASCII JSON without blanks, keys in order."""
    return _JSON.encode(source.identity(row)).encode("ascii")


_JSON = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def rows_digest(source: Source, rows: Iterable[Row]) -> str:
    """sha256 (hex) of the rows as a multiset."""
    sha = hashlib.sha256()
    for line in sorted(canonical_line(source, row) for row in rows):
        sha.update(line + b"\n")
    return sha.hexdigest()


def ids_of(source: Source, rows: Sequence[Row]) -> list[str]:
    """16 hex digits per row, of its digested part; repeats get ``-2``, ``-3``, … in turn.

    An id depends on the row's content alone, not on where it came from or where it stands.
    """
    seen: dict[str, int] = {}
    ids = []
    for row in rows:
        base = hashlib.sha256(canonical_line(source, row)).hexdigest()[:16]
        seen[base] = seen.get(base, 0) + 1
        ids.append(base if seen[base] == 1 else f"{base}-{seen[base]}")
    return ids
