"""What a gate is asked for and cannot see: a column that a run lacks, items that only one has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bfpo_bench.common.errors import BadInput
from bfpo_bench.leaderboard.columns import (
    ALPACA,
    CROWS_PAIRS,
    CROWS_PAIRS_DISTANCE,
    DISC_DISTANCE,
    GEN_CORRECTED,
    SHARES_OF,
    Column,
)
from bfpo_bench.leaderboard.comparable import Opened
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.stats.paired import Paired
from bfpo_bench.run.marks import NO_NUMBER
from bfpo_bench.run.results import TITLES, Results, TaskResult

_GROUPS = {
    **{key: (key,) for key in TITLES},
    **{one.key: (group,) for group, shares in SHARES_OF.items() for one in shares},
    "savg": ("disc", "gen"),
    DISC_DISTANCE.key: ("disc",),
}
"""The groups of tasks that an average is made of."""


def behind(column: Column, results: Results) -> list[TaskResult]:
    """The suite's tasks that a column's number is made of."""
    if column.key in _GROUPS:
        return [task for task in results.tasks.values() if task.group in _GROUPS[column.key]]
    name = CROWS_PAIRS.task if column.key == CROWS_PAIRS_DISTANCE.key else column.task
    task = results.tasks.get(str(name))
    return [] if task is None else [task]


def lacking(column: Column, opened: Opened) -> BadInput:
    """What is said of a column that no difference is known of: who lacks it, and what to do."""
    if column.key == GEN_CORRECTED.key:
        return BadInput(
            f"{column.title} is estimated for each run by itself and cannot be paired by item, so "
            "no gate can hold it; ask for Gen. instead."
        )
    for path, model in zip(opened.paths, opened.models, strict=True):
        if column.key not in model.entry.cells and column.group != "verdict":
            return BadInput(
                f"{path} has no {column.title}{_because(column, model)}, so the gate cannot see "
                f"it; {_remedy(column, path)}."
            )
    if any(behind(column, model.runs[0].results) for model in opened.models):
        why = "their tasks, or the judges that gave these verdicts, are not the same"
    else:
        why = "it is no mean over items that both have"
    return BadInput(
        f"{column.title} cannot be paired in these runs ({why}), so no gate can hold it; leave it "
        "out of the policy."
    )


def _because(column: Column, model: Loaded) -> str:
    results = model.runs[0].results
    average = results.averages.get(column.key)
    if average is not None and average.missing:
        return f" (it is missing {', '.join(average.missing)})"
    marks = [
        mark
        for task in behind(column, results)
        for mark in task.marks
        if task.score is None and mark.startswith(NO_NUMBER)
    ]
    return f" ({marks[0]})" if marks else ""


def _remedy(column: Column, path: Path) -> str:
    if column.key == ALPACA.key:
        return "evaluate it with --annotator"
    if column.group == "also":
        return f"evaluate it with `--also {column.key.partition(':')[0]}`"
    if column.share is not None:
        return f"let a judge say what is refused, with `bfpo-bench judge {path} --judge NAME`"
    if column.task is not None:
        return f"evaluate it with the task {column.task} (--tasks)"
    return "evaluate it on the whole suite"


def all_items(one: Paired, opened: Opened, paired: Sequence[Paired]) -> None:
    """Raises BadInput where the items of a column are not those of both runs, fixed beforehand."""
    common = {each.column.task: each.tally.items for each in paired if each.tally is not None}
    counts: dict[str, list[int]] = {}
    for model in opened.models:
        for run in model.runs:
            results = run.results
            tasks = behind(one.column, results)
            if run.identity.get("precision") and any(task.n < task.items for task in tasks):
                raise BadInput(
                    f"{run.path} was asked with --precision, so how many items of "
                    f"{one.column.title} it has depends on how they came out, and a gate's bounds "
                    "are for items that are fixed beforehand; evaluate it without, or with --limit."
                )
            if one.column.key == ALPACA.key and results.helpfulness is not None:
                counts.setdefault(ALPACA.title, []).append(results.helpfulness.n)
            also = results.also.get(one.column.key.partition(":")[0])
            if one.column.group == "also" and also is not None:
                counts.setdefault(also.title, []).append(also.n)
            for task in tasks:
                counts.setdefault(task.column, []).extend((task.n, common.get(task.task, 0)))
    for title, found in counts.items():
        if min(found) < max(found):
            raise BadInput(
                f"the runs have not the same items of {title} ({min(found)} of {max(found)} are in "
                f"both), so the gate cannot hold {one.column.title}; evaluate both with the same "
                "--limit and --seed, or without."
            )
