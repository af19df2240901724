"""Which columns a table shows: of the paper, of the balance suite, of the languages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bfpo_bench.leaderboard.columns import (
    ALPACA,
    ANSW,
    COLUMNS,
    CROWS_PAIRS,
    CROWS_PAIRS_DISTANCE,
    DISC,
    DISC_DISTANCE,
    FULL,
    GEN,
    GEN_CORRECTED,
    HARM,
    SAVG,
    SHARES_OF,
    SUMMARY,
    TASK_COLUMNS,
    Column,
    key_of,
)
from bfpo_bench.leaderboard.rows import Entry
from bfpo_bench.suites import load_suite


def choose_columns(
    entries: Sequence[Entry],
    full: bool = False,
    distance: bool = False,
    which: str = "usual",
) -> tuple[Column, ...]:
    """The columns of the summary or of the full table.

    Args:
        full: every task too.
        distance: with the Disc. that takes CrowS-Pairs by its distance from 50, beside the paper's.
        which: one of `COLUMN_SETS` of :mod:`bfpo_bench.leaderboard.options`.
    """
    extra = list({column.key: column for entry in entries for column in entry.extra}.values())
    if which == "balance":
        return _balance(entries, extra, full)
    if which == "multilingual":
        return _multilingual(extra, full)
    columns = list(FULL if full else SUMMARY)
    if distance:
        columns.insert(columns.index(DISC) + 1, DISC_DISTANCE)
    if full:
        columns.insert(columns.index(CROWS_PAIRS) + 1, CROWS_PAIRS_DISTANCE)
    if any(GEN_CORRECTED.key in entry.cells for entry in entries):
        columns.insert(columns.index(GEN) + 1, GEN_CORRECTED)
    if which == "paper":
        return tuple(columns)
    scores = [column for column in extra if column.share is None]
    groups = {column.group for column in scores}
    columns += [average for average in (HARM, ANSW) if average.key in groups]
    for column in scores:
        if column.group == "helpfulness":
            columns.insert(columns.index(ALPACA) + 1, column)
        elif full and column.group != "also":
            average = COLUMNS.get(column.group)
            columns.insert(columns.index(average) if average else len(columns), column)
    columns += [column for column in scores if column.group == "also"]
    return tuple(columns)


def headline(entries: Sequence[Entry], which: str = "usual") -> tuple[Column, ...]:
    """The columns of the summary, the averages first: what a page shows where room is scarce."""
    beside = ("helpfulness", "also")
    return tuple(
        sorted(choose_columns(entries, which=which), key=lambda column: column.group in beside)
    )


def _balance(entries: Sequence[Entry], extra: Sequence[Column], full: bool) -> tuple[Column, ...]:
    """Averages of judged tasks with their shares; of Gen. where some row has any."""
    there = {key for entry in entries if entry.kind != "baseline" for key in entry.cells}
    columns = [SAVG]
    own: list[Column] = []
    for average in (GEN, HARM, ANSW):
        shares = SHARES_OF[average.key]
        tasks = (*TASK_COLUMNS, *extra)
        own += [one for one in tasks if one.group == average.key and one.share is None]
        if average is GEN and not any(share.key in there for share in shares):
            # A suite of one's own may have the paper's tasks in another average.
            own = [one for one in own if one.key in there]
            continue
        columns += _with_shares(own, extra) if full else ()
        columns += (average, *shares)
        own = []
    if full:
        apart = [one for one in extra if one.group == "apart" and one.share is None]
        columns += _with_shares(apart, extra)
    return tuple(columns)


def _multilingual(extra: Sequence[Column], full: bool) -> tuple[Column, ...]:
    """A column by language, from those of many resources to those of few, and their mean."""
    keys = [key_of(task.task) for task in load_suite("multilingual").tasks]
    known = {column.key: column for column in extra}
    own = [
        replace(known[key], short=known[key].title.removeprefix("MultiJail "))
        for key in keys
        if key in known
    ]
    return (HARM, *SHARES_OF[HARM.key], *(_with_shares(own, extra) if full else own))


def _with_shares(tasks: Iterable[Column], extra: Sequence[Column]) -> list[Column]:
    """Each task's score with its shares behind it."""
    found = []
    for task in tasks:
        found += [task, *(one for one in extra if one.share and one.task == task.task)]
    return found
