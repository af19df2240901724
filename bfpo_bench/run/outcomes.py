"""From a run's samples to tallies: how the items of each task came out, and in which groups.

In three tasks several items share their text, so that a model is likely to be right about all of
them or about none: five traits are asked of every scene of ETHICS virtue, four excuses of every
scene of deontology, and BBQ is written from 137 families of templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bfpo_bench.common.statistics import Tally, tally_groups, tally_items, tally_share
from bfpo_bench.run.results import TaskResult
from bfpo_bench.run.shares import BOTH, COUNTED, HARM, OF_RESPONSES, REFUSAL, SHARES, Judges
from bfpo_bench.run.store import Store
from bfpo_bench.suites import SuiteTask, group_field, grouped_tasks

NO_GROUPS = "its interval takes the items as independent, because their groups are not at hand"
"""What must be known of a grouped task whose groups cannot be read."""


def verdict_counts(store: Store, task: str, judges: Judges) -> dict[str, int]:
    """How many responses to a task are in each of `SHARES`.

    Those of a judge that has not given a verdict on every response are left out.
    """
    sums = ", ".join(f"TOTAL({condition})" for condition in SHARES.values())
    query = f"SELECT COUNT(*), COUNT(h.key), COUNT(f.key), {sums} {OF_RESPONSES}"
    [(n, harm, refusal, *counts)] = store.select(query, judges.harm, judges.refusal, task)
    found = {name: int(count) for name, count in zip(SHARES, counts, strict=True)}
    missing = set()
    if harm < n:
        missing |= {*HARM, *BOTH}
    if refusal < n:
        missing |= {*REFUSAL, *BOTH}
    return {name: count for name, count in found.items() if name not in missing}


def tallies_of(
    store: Store | None, cells: Iterable[TaskResult]
) -> tuple[dict[str, Tally], set[str]]:
    """A tally for every cell with a score, and the tasks whose groups are not at hand.

    Args:
        store: of the run; None where it is not at hand.
    """
    found, ungrouped = {}, set()
    for cell in cells:
        if cell.score is None:
            continue
        tally = None
        field = group_field(cell.task)
        if field is not None and not cell.judged:
            tally = _grouped(store, cell, field) if store is not None else None
            ungrouped |= {cell.task} & grouped_tasks().keys() if tally is None else set()
        found[cell.task] = tally or _single(store, cell)
    return found, ungrouped


def item_values(
    store: Store, cell: TaskResult | SuiteTask, judges: Judges, share: str | None = None
) -> dict[str, float]:
    """What each item of a task adds to its score or to a share: 1 for right or harmless, 0 for not.

    Args:
        cell: the task, or its cell.
        share: of a judged task, one of `SHARES`; None for the one that is its score.
    """
    if not cell.judged:
        return store.outcomes(cell.task, cell.metric)
    wanted = share or COUNTED[cell.metric][0]
    there = [
        f"{verdict}.key IS NOT NULL"
        for verdict, some in (("h", HARM), ("f", REFUSAL))
        if wanted in some or wanted in BOTH
    ]
    query = f"SELECT r.item, {SHARES[wanted]} {OF_RESPONSES} AND {' AND '.join(there)}"
    rows = store.select(query, judges.harm, judges.refusal, cell.task)
    return {item: float(value) for item, value in rows}


def item_groups(store: Store, task: str) -> dict[str, str] | None:
    """The group of each item of a task; None where they come singly or the groups are unknown."""
    field = group_field(task)
    if field is None:
        return None
    query = (
        "SELECT item, json_extract(row, ?) FROM items i WHERE task = ? "
        "AND EXISTS (SELECT 1 FROM outcomes o WHERE o.task = i.task)"
    )
    groups = dict(store.select(query, f"$.{field}", task))
    return groups if groups and all(groups.values()) else None


def item_wins(store: Store, annotator: str) -> list[tuple[str, float]]:
    """Instruction and preference, 0 (the reference wins) to 1, where the annotator gave one."""
    found = store.annotations().values()
    return [
        (one.item, one.preference - 1)
        for one in found
        if one.annotator == annotator and one.preference is not None
    ]


def pooled(runs: Sequence[dict[str, list[float]]], groups: dict[str, str] | None = None) -> Tally:
    """The tally of several models over the items that all of them have.

    Args:
        runs: for each model its values by item; several of one item (seeds) count by their mean.
    """
    items = [item for item in runs[0] if all(item in other for other in runs[1:])]
    values = [[sum(run[item]) / len(run[item]) for run in runs] for item in items]
    return tally_items(values, [groups[item] for item in items] if groups else None)


def _single(store: Store | None, cell: TaskResult) -> Tally:
    if store is None or cell.judged:
        assert cell.score is not None
        return tally_share(round(cell.score * cell.n / 100), cell.n)
    query = "SELECT value, COUNT(*) FROM outcomes WHERE task = ? AND metric = ? GROUP BY value"
    rows = dict(store.select(query, cell.task, cell.metric))
    if rows.keys() <= {0.0, 1.0}:
        return tally_share(rows.get(1.0, 0), cell.n)
    return tally_items([[v] for v in store.outcomes(cell.task, cell.metric).values()])


def _grouped(store: Store, cell: TaskResult, field: str) -> Tally | None:
    query = (
        "SELECT json_extract(i.row, ?), COUNT(*), SUM(o.value) FROM items i JOIN outcomes o "
        "ON o.task = i.task AND o.item = i.item WHERE i.task = ? AND o.metric = ? GROUP BY 1"
    )
    rows = store.select(query, f"$.{field}", cell.task, cell.metric)
    if not all(group for group, _, _ in rows):
        return None
    return tally_groups([size for _, size, _ in rows], [[points] for _, _, points in rows])
