"""Rows as a pandas frame and as files for programs: unrounded, with all that is known of a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bfpo_bench import __version__
from bfpo_bench.common.text import plain_json, valid_text
from bfpo_bench.leaderboard.columns import Column
from bfpo_bench.leaderboard.render.escaping import csv_text
from bfpo_bench.leaderboard.rows import Cell, Entry

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1
_DIGITS = 6
_PARTS = {
    "": "float64",
    "_low": "float64",
    "_high": "float64",
    "_spread": "float64",
    "_n": "Int64",
    "_notes": "str",
    "_protocol": "str",
}
"""What is known of a number, by what stands behind the column's key."""


def frame(entries: Sequence[Entry], columns: Sequence[Column]) -> DataFrame:
    """One row per row of the table; a missing number is NaN, and a faulty row has none.

    Columns: name, kind, source, runs (their number), judge; of each column of the table, by its
    key, ``savg`` (percent), ``savg_low``, ``savg_high``, ``savg_spread`` (over seeds), ``savg_n``
    (items), ``savg_notes`` and ``savg_protocol`` (what it was measured with, in words and by the
    key that ranked numbers share); fault, notes. Names are not to be trusted.
    """
    import pandas

    kinds = dict.fromkeys(("name", "kind", "source"), "str") | {"runs": "int64", "judge": "str"}
    kinds |= {column.key + part: kind for column in columns for part, kind in _PARTS.items()}
    kinds |= {"fault": "str", "notes": "str"}
    rows = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "source": entry.source,
            "runs": len(entry.runs),
            "judge": entry.judge,
            **{
                column.key + part: value
                for column in columns
                if entry.fault is None and (cell := entry.cells.get(column.key))
                for part, value in _known(cell).items()
            },
            "fault": entry.fault,
            "notes": "; ".join(entry.marks),
        }
        for entry in entries
    ]
    return pandas.DataFrame(valid_text(rows), columns=list(kinds)).astype(kinds)


def _known(cell: Cell) -> dict[str, Any]:
    values = (cell.value, cell.low, cell.high, cell.spread, cell.n, "; ".join(cell.marks))
    return dict(zip(_PARTS, (*values, cell.protocol.text()), strict=True))


def csv_file(rows: DataFrame, columns: Sequence[Column], ci: bool = False) -> str:
    """One line per row of a frame; a missing number is an empty field.

    Args:
        ci: with the ends of each interval as ``<column>_low`` and ``<column>_high``.
    """
    parts = ("", "_low", "_high") if ci else ("",)
    names = [column.key + part for column in columns for part in parts]
    spread = [f"{column.key}_spread" for column in columns]
    if rows[spread].notna().any(axis=None):
        names += spread
    return csv_of(rows[["name", "kind", "source", "runs", "judge", *names, "fault", "notes"]])


def csv_of(rows: DataFrame, digits: int | None = _DIGITS) -> str:
    """A frame as CSV, in which no spreadsheet takes a text for a formula."""
    texts = rows.select_dtypes("str")
    safe = rows.assign(**{name: texts[name].fillna("").map(csv_text) for name in texts})
    if digits is not None:
        safe = safe.round(digits)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def json_file(entries: Sequence[Entry], columns: Sequence[Column]) -> str:
    """Columns and rows with all their cells, intervals, notes and run directories."""
    return json_of(
        {
            "columns": [asdict(column) for column in columns],
            "rows": [_row(entry, columns) for entry in entries],
        }
    )


def json_of(content: Mapping[str, Any]) -> str:
    """A JSON text that says which version of which layout it is."""
    about = {"schema": SCHEMA_VERSION, "bfpo_bench": __version__}
    return plain_json(json.dumps({**about, **content}, indent=2, ensure_ascii=False)) + "\n"


def _row(entry: Entry, columns: Sequence[Column]) -> dict[str, Any]:
    cells = {
        column.key: _cell(entry.cells[column.key])
        for column in columns
        if column.key in entry.cells
    }
    return {
        "name": entry.name,
        "kind": entry.kind,
        "source": entry.source,
        "runs": [str(run) for run in entry.runs],
        "judge": entry.judge,
        "fault": entry.fault,
        "marks": list(entry.marks),
        "cells": cells if entry.fault is None else {},
    }


def _cell(cell: Cell) -> dict[str, Any]:
    """The cell; its protocol by column and setting, and the key of what it is ranked among."""
    protocol: dict[str, dict[str, str]] = {}
    for (column, name), value in cell.protocol.parts:
        protocol.setdefault(column or "run", {})[name] = value
    return {**asdict(cell), "protocol": protocol, "protocol_key": cell.protocol.key}
