"""Whether what a store holds is what we write: SQLite keeps whatever is put into a column."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.text import valid_text
from bfpo_bench.run.store.records import ItemRecord

BOOLEANS = ("is_greedy", "harmful")
"""Columns whose truth values SQLite keeps as 0 and 1."""


class _Columns:
    """Name, type and whether it may be empty, of each column of a record.

    Attributes:
        known: types of rows that were found to fit: nearly all rows have one of a few.
        numbers: places of the columns whose value has to be finite.
    """

    def __init__(self, kind: type[Any]) -> None:
        types = {"str": str, "int": int, "float": float, "bool": bool}
        parts = [(field.name, *str(field.type).partition(" | ")) for field in fields(kind)]
        self.parts = [(name, types[of], empty == "None") for name, of, _, empty in parts]
        # The logarithm of no chance at all is minus infinity.
        self.numbers = [
            at
            for at, (name, of, _) in enumerate(self.parts)
            if of is float and name != "loglikelihood"
        ]
        self.known: set[tuple[type, ...]] = set()


_columns = cache(_Columns)


def misfit(kind: type[Any], row: Sequence[Any]) -> str | None:
    """What in a row is of another type than the record's, as a clause; None where nothing is.

    SQLite keeps whatever is put into a column, also a word where a number belongs.
    """
    columns = _columns(kind)  # type: ignore[arg-type]
    found = tuple(map(type, row))
    if found not in columns.known:
        if len(row) != len(columns.parts):
            return f"it has {len(row)} columns and should have {len(columns.parts)}"
        for (name, of, optional), value in zip(columns.parts, row, strict=True):
            if not (value is None and optional) and type(value) is not of:
                return f"{name} is {value!r:.40} and should be {_WORDS[of]}"
        columns.known.add(found)
    for at in columns.numbers:
        if row[at] is not None and not math.isfinite(row[at]):
            return f"{columns.parts[at][0]} is {row[at]!r} and should be a finite number"
    return None


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def source_row(item: ItemRecord) -> dict[str, Any]:
    """The source's fields of an item, by name. A number that is none (NaN) becomes None.

    Raises:
        BadInput: the row is no JSON object.
    """
    try:
        found = json.loads(item.row, parse_constant=lambda _: None)
        # Half a surrogate pair stands in JSON as an escape only.
        found = valid_text(found) if "\\u" in item.row else found
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(
            f"the row of {item.task}, item {item.item} is damaged (no JSON object); begin the "
            "run again with --fresh."
        )
    return found
