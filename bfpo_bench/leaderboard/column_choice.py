"""Which columns a table has, and which one its rows are sorted by."""

from __future__ import annotations

from collections.abc import Sequence

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.leaderboard.columns import (
    ALPACA,
    COLUMNS,
    CROWS_PAIRS,
    CROWS_PAIRS_DISTANCE,
    DISC,
    DISC_DISTANCE,
    FULL,
    GEN,
    GEN_CORRECTED,
    SUMMARY,
    Column,
)
from bfpo_bench.leaderboard.rows import Entry


def choose_columns(
    entries: Sequence[Entry], full: bool = False, distance: bool = False
) -> tuple[Column, ...]:
    """The columns of the summary or of the full table, with those that these rows add.

    Args:
        distance: with the Disc. that takes CrowS-Pairs by its distance from 50, beside the paper's.
    """
    columns = list(FULL if full else SUMMARY)
    if distance:
        columns.insert(columns.index(DISC) + 1, DISC_DISTANCE)
    if full:
        columns.insert(columns.index(CROWS_PAIRS) + 1, CROWS_PAIRS_DISTANCE)
    if any(GEN_CORRECTED.key in entry.cells for entry in entries):
        columns.insert(columns.index(GEN) + 1, GEN_CORRECTED)
    extra = {column.key: column for entry in entries for column in entry.extra}
    for column in extra.values():
        if column.group == "helpfulness":
            columns.insert(columns.index(ALPACA) + 1, column)
        elif full:
            columns.insert(columns.index(DISC if column.group == "disc" else GEN), column)
    return tuple(columns)


def sort_key(name: str, columns: Sequence[Column]) -> Column | None:
    """The column that --sort names; None for the row's name.

    Raises:
        BadInput: there is none of that name.
    """
    known = {**COLUMNS, **{column.key: column for column in columns}}
    titles = {column.title.lower().rstrip("."): column for column in known.values()}
    wanted = name.lower().rstrip(".")
    if wanted == "name":
        return None
    found = known.get(wanted) or titles.get(wanted)
    if found is None:
        raise unknown_name("column to sort by", name, ["name", *known])
    return found
