"""The paper's own rows: Tables 6 to 8 of arXiv 2408.15313, as printed, with notes on the oddities.

``published/rows.csv`` holds the 19 rows, ``published/notes.yaml`` what must be known of them.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bfpo_bench.leaderboard.columns import COLUMNS, CROWS_PAIRS_DISTANCE, FULL, GEN, SAVG
from bfpo_bench.leaderboard.protocol import Protocol
from bfpo_bench.leaderboard.rows import Cell, Entry
from bfpo_bench.leaderboard.stats.distance import distance_cells

_FOLDER = Path(__file__).parent / "published"
PAPER = "arXiv 2408.15313"
VERDICTS = "verdicts of cais/HarmBench-Llama-2-13b-cls, as the paper has them"


@lru_cache(maxsize=1)
def published_entries() -> tuple[Entry, ...]:
    """The 19 published rows in the paper's order. A row and its cells carry their notes."""
    import yaml

    notes = yaml.safe_load((_FOLDER / "notes.yaml").read_text(encoding="utf-8"))
    with (_FOLDER / "rows.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_entry(row, notes) for row in csv.DictReader(file))


def _entry(row: dict[str, str], notes: list[dict[str, Any]]) -> Entry:
    about = [
        note
        for note in notes
        if note.get("table", row["table"]) in (row["table"], int(row["table"]))
        and row["printed"] in note.get("rows", [row["printed"]])
    ]
    cells = {
        column.key: Cell(
            float(row[column.key]),
            marks=tuple(note["text"] for note in about if column.key in note.get("columns", ())),
            protocol=Protocol.of({"as printed": f"Table {row['table']}"}),
        )
        for column in FULL
    }
    for column in FULL:
        if column.group == "gen" or column in (GEN, SAVG):
            cell = cells[column.key]
            cells[column.key] = replace(cell, marks=(*cell.marks, VERDICTS))
    cells |= distance_cells(cells)
    assert CROWS_PAIRS_DISTANCE.key in cells
    assert cells.keys() <= COLUMNS.keys()
    return Entry(
        name=row["name"],
        kind="published",
        source=f"Table {row['table']} of {PAPER}",
        cells=cells,
        marks=tuple(note["text"] for note in about if "columns" not in note),
    )
