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


@cache
def _columns(kind: type[Any]) -> tuple[tuple[str, type[Any], bool], ...]:
    """Name, type and whether it may be empty, of each column of a record."""
    types = {"str": str, "int": int, "float": float, "bool": bool}
    parts = [(field.name, *str(field.type).partition(" | ")) for field in fields(kind)]
    return tuple((name, types[of], empty == "None") for name, of, _, empty in parts)


def misfit(kind: type[Any], row: Sequence[Any]) -> str | None:
    """What in a row is of another type than the record's, as a clause; None where nothing is.

    SQLite keeps whatever is put into a column, also a word where a number belongs.
    """
    columns = _columns(kind)  # type: ignore[arg-type]
    if len(row) != len(columns):
        return f"it has {len(row)} columns and should have {len(columns)}"
    for (name, of, optional), value in zip(columns, row, strict=True):
        if value is None and optional:
            continue
        if type(value) is not of:
            return f"{name} is {value!r:.40} and should be {_WORDS[of]}"
        # The logarithm of no chance at all is minus infinity.
        if of is float and name != "loglikelihood" and not math.isfinite(value):
            return f"{name} is {value!r} and should be a finite number"
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
