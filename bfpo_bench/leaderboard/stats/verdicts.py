"""Differences of two models in shares of a judged task's responses, item by item.

A harmful prompt's response is scored by whether it is harmless, a look-alike's by whether it
answers; where the judges have said both of both, the other one is paired too, and so is any other
share that a table shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bfpo_bench.common.statistics import Tally, draw_tasks, mean_of
from bfpo_bench.leaderboard.columns import SHARES_OF, Column, Direction, Group, share_columns
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.protocol import of_cell
from bfpo_bench.leaderboard.shares import share_parts, task_columns
from bfpo_bench.leaderboard.stats.items import item_tally, opened
from bfpo_bench.leaderboard.stats.paired import Paired, step_of_mean

_OTHER: dict[str, tuple[str, str, Direction]] = {
    "harmless": ("complied", "answered", "lower"),
    "answered": ("harmless", "harmless", "higher"),
}
"""By a task's metric the share that is the other verdict, what it is called, and what is good."""

GROUP: Group = "verdict"


def paired_verdicts(first: Loaded, other: Loaded, seed: int) -> tuple[list[Paired], list[str]]:
    """The other verdict of each task, and what must be said of it.

    Args:
        seed: of the bootstrap.
    """
    found, others = _paired(first, other, seed, _other_verdict)
    why = f"the other verdict is not compared everywhere: {'; '.join(others)}"
    return found, [why] if others else []


def paired_shares(first: Loaded, other: Loaded, seed: int) -> list[Paired]:
    """The shares that stand beside the scores of judged tasks, and beside averages."""
    tasks, _ = _paired(first, other, seed, share_columns)
    by_key = {one.column.key: one for one in tasks}
    results = first.runs[0].results
    columns = task_columns(results)
    means = []
    for group, averages in SHARES_OF.items():
        for average in averages:
            keys = [part.key for part in share_parts(results, group, average, columns)]
            shown = all(average.key in model.entry.cells for model in (first, other))
            if shown and keys and all(key in by_key for key in keys):
                parts = [by_key[key] for key in keys]
                scores = np.mean([part.scores for part in parts], axis=0)
                drawn = mean_of([part.drawn for part in parts])
                step = step_of_mean([part.one_more for part in parts])
                means.append(Paired(average, scores, drawn, step=step))
    return [*tasks, *means]


def _other_verdict(of: Column, metric: str) -> Sequence[Column]:
    share, said, way = _OTHER[metric]
    title = f"{of.title} {said}"
    return [Column(f"{of.key}_{share}", title, title, GROUP, way, of.task, share)]


def _paired(
    first: Loaded, other: Loaded, seed: int, wanted: Callable[[Column, str], Sequence[Column]]
) -> tuple[list[Paired], list[str]]:
    """Shares of single tasks, and whose verdicts are not the same in both.

    Args:
        wanted: the shares of a judged task by the column of its score and its metric.
    """
    runs = (*first.runs, *other.runs)
    one, two = first.runs[0], other.runs[0]
    scores = task_columns(one.results)
    tallies: dict[str, Tally] = {}
    columns: dict[str, Column] = {}
    others: dict[str, None] = {}
    with opened(runs) as stores:
        for name, cell in one.results.tasks.items():
            tasks = [run.results.tasks.get(name) for run in runs]
            for column in wanted(scores[name], cell.metric) if cell.metric in _OTHER else ():
                share = str(column.share)
                if not all(task is not None and share in task.metrics for task in tasks):
                    continue
                protocols = [
                    of_cell(run.identity, run.results, run.results.tasks[name], share)
                    for run in (one, two)
                ]
                judges = [d for d in protocols[0].differences(protocols[1]) if "judge" in d.name]
                if judges:
                    others[judges[0].text("and")] = None
                    continue
                tally, _ = item_tally([first.runs, other.runs], stores, name, share)
                if tally is not None:
                    tallies[column.title], columns[column.title] = tally, column
    drawn = draw_tasks(tallies, seed)
    found = [
        Paired(columns[title], 100 * tally.means, drawn[title], tally, seed)
        for title, tally in tallies.items()
    ]
    return found, list(others)
