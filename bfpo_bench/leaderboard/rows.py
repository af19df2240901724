"""A row of the leaderboard: measured here, or one of the paper's own.

``published/rows.csv`` holds the 19 rows of Tables 6 to 8 of arXiv 2408.15313 as printed,
``published/notes.yaml`` what must be known of them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bfpo_bench.leaderboard.columns import (
    CROWS_PAIRS,
    CROWS_PAIRS_DISTANCE,
    DISC_DISTANCE,
    FULL,
    GEN,
    SAVG,
    TASK_COLUMNS,
    Column,
)
from bfpo_bench.leaderboard.protocol import NOTHING, Protocol

_FOLDER = Path(__file__).parent / "published"
PAPER = "arXiv 2408.15313"
VERDICTS = "verdicts of cais/HarmBench-Llama-2-13b-cls, as the paper has them"
UNBIASED = 50.0
"""CrowS-Pairs of a model without bias, in percent."""

DISC_TASKS = {column.key: str(column.task) for column in TASK_COLUMNS if column.group == "disc"}
"""The suite's tasks that Disc. is the mean of, by column key."""


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        value: percent (Alpaca: win rate in percent).
        low, high: 95 % interval in percent; None where not asked for or not known.
        n: items; None for a published number.
        marks: sentences a reader must know of this number.
        spread: sample standard deviation over several runs in percentage points; None for one run.
        protocol: what the number was measured with; only numbers of protocols that agree are
            ranked against each other.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    marks: tuple[str, ...] = ()
    spread: float | None = None
    protocol: Protocol = NOTHING


class Badge(NamedTuple):
    """What kind of row it is: a word, and the reason."""

    name: str
    why: str


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        name: unique in a table. Untrusted text where it was measured.
        kind: ``"measured"`` from a run directory, ``"published"``, or ``"baseline"``: what a model
            that always says the same would get.
        source: e.g. ``"Table 7 of arXiv 2408.15313"``, or the run directory's path.
        cells: by column key; a missing cell is absent, never 0.
        marks: sentences a reader must know of the row.
        run: run directory; of several (seeds) the first. None for a published row.
        runs: every run directory of the row.
        fault: why the run failed its consistency check; such a row is named and not ranked.
        extra: columns of tasks that the paper does not have (a suite of one's own).
        judge: name of the judge whose verdicts Gen. counts; None without judged tasks.
        badges: why it is no row like the others, e.g. because its run was limited.
    """

    name: str
    kind: Literal["measured", "published", "baseline"]
    source: str
    cells: Mapping[str, Cell]
    marks: tuple[str, ...] = ()
    run: Path | None = None
    runs: tuple[Path, ...] = ()
    fault: str | None = None
    extra: tuple[Column, ...] = ()
    judge: str | None = None
    badges: tuple[Badge, ...] = ()


# ------------------------------------------------ CrowS-Pairs by its distance from 50


def fairness(crows_pairs: Any) -> Any:
    """100 − 2·|x − 50|: CrowS-Pairs on the scale of the other tasks, 100 where it is unbiased."""
    return 100 - 2 * abs(crows_pairs - UNBIASED)


def distance_cells(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """The columns ``crows_pairs_distance`` and ``disc_distance`` from a row's other cells.

    The alternative Disc. is there when all 12 of its parts are.
    """
    crows = cells.get(CROWS_PAIRS.key)
    if crows is None:
        return {}
    distance = abs(crows.value - UNBIASED)
    found = {CROWS_PAIRS_DISTANCE.key: Cell(distance, n=crows.n, protocol=crows.protocol)}
    if all(key in cells for key in DISC_TASKS):
        values = [
            fairness(cells[k].value) if k == CROWS_PAIRS.key else cells[k].value for k in DISC_TASKS
        ]
        protocol = sum((cells[key].protocol for key in DISC_TASKS), Protocol())
        found[DISC_DISTANCE.key] = Cell(math.fsum(values) / len(values), protocol=protocol)
    return found


# -------------------------------------------------------------- the paper's own rows


@lru_cache(maxsize=1)
def published_entries() -> tuple[Entry, ...]:
    """The 19 published rows in the paper's order. A row and its cells carry their notes."""
    from bfpo_bench.common.yaml_text import yaml_file

    notes = yaml_file(_FOLDER / "notes.yaml", "the notes")
    with (_FOLDER / "rows.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_published(row, notes) for row in csv.DictReader(file))


def _published(row: dict[str, str], notes: list[dict[str, Any]]) -> Entry:
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
    source = f"Table {row['table']} of {PAPER}"
    return Entry(
        name=row["name"],
        kind="published",
        source=source,
        cells=cells,
        badges=(Badge("published", f"as printed in {source}; not measured here"),),
        marks=tuple(note["text"] for note in about if "columns" not in note),
    )
