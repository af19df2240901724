"""What became of a run's judged responses besides their score: refused, in part or full, or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bfpo_bench.leaderboard.columns import (
    COLUMN_OF_TASK,
    SHARES_OF,
    Column,
    Direction,
    Group,
    share_columns,
)
from bfpo_bench.leaderboard.protocol import of_cell, of_mean
from bfpo_bench.leaderboard.rows import Cell
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.run.marks import ANYWAY, SHARES_ANYWAY, refusals_by, verdicts_by
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.shares import BOTH, COUNTED, HARM, REFUSAL
from bfpo_bench.suites import prompt_kind, task_names


def share_cells(run: Run, columns: Mapping[str, Column]) -> tuple[dict[str, Cell], list[Column]]:
    """The shares of judged tasks and, where all tasks of an average have them, their means.

    Args:
        columns: of the tasks' scores, by task.

    Returns:
        cells by column key, without intervals; and the columns that the paper does not have.
    """
    results = run.results
    cells: dict[str, Cell] = {}
    found: list[Column] = []
    for task in results.tasks.values():
        if not task.judged:
            continue
        for column in share_columns(columns[task.task], task.metric):
            share = str(column.share)
            if share in task.metrics:
                marks = _share_marks(results, [task], share)
                protocol = of_cell(run.identity, results, task, share)
                value = 100 * task.metrics[share]
                cells[column.key] = Cell(value, n=task.n, marks=marks, protocol=protocol)
                found.append(column)
    there = {task.column for task in results.tasks.values()}
    for group, averages in SHARES_OF.items():
        mean = results.averages.get(group)
        if mean is not None and not there.issuperset(mean.missing):
            continue  # as the average itself: of all its tasks, or none
        for average in averages:
            parts = share_parts(results, group, average, columns)
            if parts and all(part.key in cells for part in parts):
                some = [cells[part.key] for part in parts]
                protocol = of_mean(results, [cell.protocol for cell in some], (group,))
                tasks = [results.tasks[str(part.task)] for part in parts]
                marks = _share_marks(results, tasks, str(average.share))
                value = fmean(cell.value for cell in some)
                cells[average.key] = Cell(value, marks=marks, protocol=protocol)
    return cells, found


def _share_marks(results: Results, tasks: Sequence[TaskResult], share: str) -> tuple[str, ...]:
    """What must be known of a share of these tasks' responses."""
    marks: dict[str, None] = {}
    for task in tasks:
        anyway = (mark for mark in task.marks if mark.startswith((ANYWAY, SHARES_ANYWAY)))
        marks |= dict.fromkeys((*anyway, *verdict_marks(results, task, share)))
    unknown = sum(round(task.metrics.get("refusal_unknown", 0) * task.n) for task in tasks)
    if unknown:
        marks[f"{unknown} of {sum(task.n for task in tasks)} verdicts of refusal unknown"] = None
    return tuple(marks)


def share_parts(
    results: Results, group: str, average: Column, columns: Mapping[str, Column]
) -> list[Column]:
    """The columns that the share of an average is the mean of: a continuation is never refused."""
    tasks = [task for task in results.tasks.values() if task.group == group]
    return [
        column
        for task in tasks
        if task.judged and not (task.task in task_names() and _continues(task.task))
        for column in share_columns(columns[task.task], task.metric)
        if column.share == average.share
    ]


def _continues(task: str) -> bool:
    return prompt_kind(task) == "continuations"


def task_columns(results: Results) -> dict[str, Column]:
    """The columns of a run's scores, by task; one for each that the paper does not have."""
    return {
        task.task: COLUMN_OF_TASK.get(task.task) or _column(task) for task in results.tasks.values()
    }


def group_of(task: TaskResult) -> Group:
    """The group that a suite has put a task in; that of its column may be another."""
    groups: tuple[Group, ...] = ("gen", "harm", "answ", "apart")
    return next((group for group in groups if group == task.group), "disc")


def verdict_marks(results: Results, task: TaskResult, share: str | None = None) -> tuple[str, ...]:
    """Who gave the verdicts that a number of a judged task counts.

    Args:
        share: one of its shares; None for its score.
    """
    wanted = share or COUNTED[task.metric][0]
    by: list[tuple[Any, Any]] = []
    if results.judge is not None and (wanted in HARM or wanted in BOTH):
        by.append((verdicts_by, results.judge))
    if results.refusal_judge is not None and (wanted in REFUSAL or wanted in BOTH):
        by.append((refusals_by, results.refusal_judge))
    return tuple(said(judge) for said, judge in by)


def _column(task: TaskResult) -> Column:
    """A column for a task that the paper does not have."""
    direction: Direction = "higher"
    if task.direction == "lower":
        direction = "lower"
    elif task.direction == "nearer-50":
        direction = "nearer-50"
    return Column(task.task, task.column, task.column, group_of(task), direction, task.task)
