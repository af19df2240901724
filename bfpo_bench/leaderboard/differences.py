"""Every column in which two models can be paired, item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.statistics import CONFIDENCE, Tally, draw_tasks, mean_of
from bfpo_bench.leaderboard.columns import (
    ALPACA,
    COLUMNS,
    CROWS_PAIRS,
    CROWS_PAIRS_DISTANCE,
    DISC_DISTANCE,
    Column,
)
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.rows import DISC_TASKS, UNBIASED, fairness
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.leaderboard.shares import group_of, task_columns
from bfpo_bench.leaderboard.stats.also import paired_also
from bfpo_bench.leaderboard.stats.items import paired_tallies
from bfpo_bench.leaderboard.stats.paired import Paired, step_of_mean
from bfpo_bench.leaderboard.stats.verdicts import GROUP as VERDICT
from bfpo_bench.leaderboard.stats.verdicts import paired_verdicts
from bfpo_bench.run.results import TITLES
from bfpo_bench.suites import AVERAGED

JUDGED = ("gen", "harm", "answ", "apart", VERDICT)
"""Groups of columns that may count a judge's verdicts."""

WIN_RATE = replace(ALPACA, title="Alpaca, win rate")
"""The raw one: length control belongs to a model's outputs as a whole and cannot be paired."""


_SURE = (1 + CONFIDENCE) / 2
"""The share of draws on one side of 50 from which a model is taken to be there."""


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


def from_fifty(paired: Paired, column: Column) -> Paired:
    """The distances from 50 of a share that is the better the nearer it is to 50.

    |x − 50| of draws on both sides of 50 is too large, so where an interval's end depends on a
    distance not being small, it counts by the side of 50 that the model is on for sure: 0 where
    that is open.

    Args:
        column: the distance's own.
    """
    off = paired.drawn - UNBIASED
    sides = np.where(np.mean(off > 0, axis=0) > _SURE, 1, 0) - (np.mean(off < 0, axis=0) > _SURE)
    far, least = abs(off), sides * off
    ends = least[:, 1] - far[:, 0], far[:, 1] - least[:, 0]
    scores = abs(paired.scores - UNBIASED)
    return Paired(column, scores, far, own_ends=ends, step=paired.one_more)


def paired_distances(paired: Sequence[Paired]) -> list[Paired]:
    """CrowS-Pairs by its distance from 50, and the Disc. that takes it so, where tasks allow it."""
    by_key = {one.column.key: one for one in paired}
    if CROWS_PAIRS.key not in by_key:
        return []
    crows = from_fifty(by_key.pop(CROWS_PAIRS.key), CROWS_PAIRS_DISTANCE)
    rest = [by_key[key] for key in DISC_TASKS if key in by_key]
    if len(rest) + 1 < len(DISC_TASKS):
        return [crows]
    scores, drawn = (
        mean_of([fairness(UNBIASED + far), *others])
        for far, others in (
            (crows.scores, [one.scores for one in rest]),
            (crows.drawn, [one.drawn for one in rest]),
        )
    )
    nearest, farthest = crows.ends
    apart = [one.drawn[:, 1] - one.drawn[:, 0] for one in rest]
    ends = mean_of([-2 * farthest, *apart]), mean_of([-2 * nearest, *apart])
    step = step_of_mean([2 * crows.step, *(one.one_more for one in rest)])
    return [crows, Paired(DISC_DISTANCE, scores, drawn, own_ends=ends, step=step)]


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
    means: dict[str, Paired] = {}
    for key, names in parts.items():
        if names:
            scores = np.mean([100 * tallies[name].means for name in names], axis=0)
            # An average of one task is that task.
            only = tallies[names[0]] if len(names) == 1 else None
            step = step_of_mean([100 / tallies[name].groups for name in names])
            draws = mean_of([drawn[name] for name in names])
            means[key] = Paired(COLUMNS[key], scores, draws, only, seed, step=step)
    if {"disc", "gen"} <= means.keys():
        both = [means["disc"], means["gen"]]
        scores, draws = np.mean([m.scores for m in both], axis=0), mean_of([m.drawn for m in both])
        step = step_of_mean([mean.one_more for mean in both])
        means["savg"] = Paired(COLUMNS["savg"], scores, draws, None, seed, step=step)
    columns = task_columns(results)
    # A suite of one's own may have the paper's tasks in another average.
    tasks = {
        name: replace(columns[name], group=group_of(results.tasks[name]))
        if name in shared
        else WIN_RATE
        for name in tallies
    }
    return [
        *(means[mean] for mean in TITLES if mean in means),
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
