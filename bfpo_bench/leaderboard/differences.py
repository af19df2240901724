"""Every column in which two models can be paired, item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import Floats, Tally, draw_tasks, mean_of
from bfpo_bench.leaderboard.columns import (
    ALPACA,
    COLUMNS,
    CROWS_PAIRS,
    CROWS_PAIRS_DISTANCE,
    DISC_DISTANCE,
)
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.rows import DISC_TASKS, UNBIASED, fairness
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.leaderboard.shares import group_of, task_columns
from bfpo_bench.leaderboard.stats.also import paired_also
from bfpo_bench.leaderboard.stats.items import paired_tallies
from bfpo_bench.leaderboard.stats.paired import Paired
from bfpo_bench.leaderboard.stats.verdicts import GROUP as VERDICT
from bfpo_bench.leaderboard.stats.verdicts import paired_verdicts
from bfpo_bench.run.results import TITLES
from bfpo_bench.suites import AVERAGED

JUDGED = ("gen", "harm", "answ", "apart", VERDICT)
"""Groups of columns that may count a judge's verdicts."""

WIN_RATE = replace(ALPACA, title="Alpaca, win rate")
"""The raw one: length control belongs to a model's outputs as a whole and cannot be paired."""


def paired_columns(
    first: Loaded, other: Loaded, seed: int, paths: tuple[Path, Path]
) -> tuple[list[Paired], list[str]]:
    """Averages, tasks and win rate, the other verdicts, lm-eval's own; and what is said of them.

    Args:
        seed: of the bootstrap.
        paths: what the models are called in messages.

    Raises:
        BadInput: nothing in common.
    """
    beside: list[Paired] = []
    remarks: list[str] = []
    for part in (paired_verdicts, paired_also):
        some, said = part(first, other, seed)
        beside += some
        remarks += said
    return [*_suite_columns(first, other, seed, paths, bool(beside)), *beside], remarks


def paired_distances(paired: Sequence[Paired]) -> list[Paired]:
    """CrowS-Pairs by its distance from 50, and the Disc. that takes it so, where tasks allow it."""
    by_key = {one.column.key: one for one in paired}
    found = []
    if crows := by_key.get(CROWS_PAIRS.key):
        scores, drawn = abs(crows.scores - UNBIASED), abs(crows.drawn - UNBIASED)
        found.append(Paired(CROWS_PAIRS_DISTANCE, scores, drawn))
    if by_key.keys() >= DISC_TASKS.keys():
        parts = [by_key[key] for key in DISC_TASKS]
        crows_last = [
            (fairness(one.scores), fairness(one.drawn))
            if one.column is CROWS_PAIRS
            else (one.scores, one.drawn)
            for one in parts
        ]
        all_scores, all_drawn = zip(*crows_last, strict=True)
        found.append(Paired(DISC_DISTANCE, np.mean(all_scores, axis=0), mean_of(all_drawn)))
    return found


def items_left_out(first: Loaded, other: Loaded, found: Sequence[Paired]) -> list[str]:
    """What one run's table has and the comparison has not, lest they seem to contradict.

    The tasks of which one run has more items than both have, and those without a number.
    """
    common = {one.column.task: one.tally.items for one in found if one.tally is not None}
    columns = task_columns(first.runs[0].results)
    some, none = [], []
    for name, cell in first.runs[0].results.tasks.items():
        two, title = other.runs[0].results.tasks.get(name), columns[name].title
        if two is not None and name not in common:
            none.append(title)
        elif two is not None and max(cell.n, two.n) > common[name]:
            some.append(f"{title} {common[name]} of {cell.n} and {two.n}")
    return [
        *([f"compared are the items that both have ({', '.join(some)})"] if some else []),
        *([f"no item of {', '.join(none)} has a number in both"] if none else []),
    ]


def _suite_columns(
    first: Loaded, other: Loaded, seed: int, paths: tuple[Path, Path], beside: bool
) -> list[Paired]:
    """Of the suite's averages and tasks.

    Args:
        beside: whether there is something else to compare where they have nothing in common.
    """
    results = first.runs[0].results
    shared = [
        name
        for name in results.tasks
        if all(_has_number(run, name) for run in (*first.runs, *other.runs))
    ]
    tallies = paired_tallies(first, other, shared)
    if not tallies and not beside:
        raise BadInput(
            f"{paths[0]} and {paths[1]} have no answered item in common; evaluate them on the same "
            "tasks, and with the same --limit and --seed if there is a limit."
        )
    drawn = draw_tasks(tallies, seed)
    parts = {group: _whole(group, first, other, tallies) for group in AVERAGED}
    means: dict[str, tuple[Floats, Floats, Tally | None]] = {}
    for key, names in parts.items():
        if names:
            scores = np.mean([100 * tallies[name].means for name in names], axis=0)
            # An average of one task is that task.
            only = tallies[names[0]] if len(names) == 1 else None
            means[key] = scores, mean_of([drawn[name] for name in names]), only
    if {"disc", "gen"} <= means.keys():
        both = [means["disc"], means["gen"]]
        scores = np.mean([value for value, _, _ in both], axis=0)
        means["savg"] = scores, mean_of([draws for _, draws, _ in both]), None
    columns = task_columns(results)
    # A suite of one's own may have the paper's tasks in another average.
    tasks = {
        name: replace(columns[name], group=group_of(results.tasks[name]))
        if name in shared
        else WIN_RATE
        for name in tallies
    }
    return [
        *(Paired(COLUMNS[mean], *means[mean], seed) for mean in TITLES if mean in means),
        *(
            Paired(tasks[name], 100 * tally.means, drawn[name], tally, seed)
            for name, tally in tallies.items()
        ),
    ]


def _has_number(run: Run, task: str) -> bool:
    """Whether the run has done the task, and its table has a number there."""
    cell = run.results.tasks.get(task)
    return cell is not None and cell.score is not None


def _whole(group: str, first: Loaded, other: Loaded, tallies: Mapping[str, Tally]) -> list[str]:
    """The tasks of an average, if both runs have it whole."""
    if not all(group in model.entry.cells for model in (first, other)):
        return []
    sides = [
        {name for name, cell in model.runs[0].results.tasks.items() if cell.group == group}
        for model in (first, other)
    ]
    if sides[0] != sides[1] or not sides[0] <= tallies.keys():
        return []
    return [name for name in tallies if name in sides[0]]
