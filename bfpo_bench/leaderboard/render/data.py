"""Rows as CSV and JSON, for programs: unrounded, with everything that is known of a cell."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from bfpo_bench.leaderboard.columns import Column
from bfpo_bench.leaderboard.render.escaping import csv_text
from bfpo_bench.leaderboard.rows import Cell, Entry

SCHEMA_VERSION = 1
_DIGITS = 6


def csv_file(entries: Sequence[Entry], columns: Sequence[Column], ci: bool = False) -> str:
    """One line per row; a missing number is an empty field. Rows with a ``fault`` have no numbers.

    Args:
        ci: with the ends of each interval as ``<column>_low`` and ``<column>_high``.
    """
    parts = ("", "_low", "_high") if ci else ("",)
    seeds = any(cell.spread is not None for entry in entries for cell in entry.cells.values())
    names = [column.key + part for column in columns for part in parts]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["name", "kind", "source", "runs", "judge", *names]
    spread = [f"{column.key}_spread" for column in columns] if seeds else []
    writer.writerow([*head, *spread, "fault", "notes"])
    for entry in entries:
        cells = entry.cells if entry.fault is None else {}
        numbers: list[Any] = []
        for column in columns:
            cell = cells.get(column.key)
            values = (cell.value, cell.low, cell.high) if cell else (None, None, None)
            numbers += [_number(value) for value in values[: len(parts)]]
        if seeds:
            found = (cells.get(column.key) for column in columns)
            numbers += [_number(cell.spread if cell else None) for cell in found]
        about = [csv_text(entry.name), entry.kind, csv_text(entry.source), len(entry.runs)]
        about.append(csv_text(entry.judge or ""))
        notes = "; ".join(entry.marks)
        writer.writerow([*about, *numbers, csv_text(entry.fault or ""), csv_text(notes)])
    return text.getvalue()


def json_file(entries: Sequence[Entry], columns: Sequence[Column]) -> str:
    """Columns and rows with all their cells, intervals, notes and run directories."""
    content = {
        "schema": SCHEMA_VERSION,
        "bfpo_bench": metadata.version("bfpo-bench"),
        "columns": [asdict(column) for column in columns],
        "rows": [_row(entry, columns) for entry in entries],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


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


def _number(value: float | None) -> float | str:
    return "" if value is None else round(value, _DIGITS)
