"""lm-eval's own tasks of two runs, paired by the items that both have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bfpo_bench.common.statistics import draw_tasks, mean_of
from bfpo_bench.leaderboard.also import also_column
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.stats.items import Values, opened
from bfpo_bench.leaderboard.stats.paired import Paired, step_of_mean
from bfpo_bench.run.also import AlsoMetric, AlsoResult, shown
from bfpo_bench.run.outcomes import item_groups, pooled


def paired_also(first: Loaded, other: Loaded, seed: int) -> tuple[list[Paired], list[str]]:
    """The difference in each metric that both models have, and what is said of the others.

    A group whose tasks count by their size is the mean of all its items, and tested as such; of
    another one the tasks are drawn apart.
    """
    found: list[Paired] = []
    unpaired = []
    for result, metric in shown(first.runs[0].results.also):
        runs = (*first.runs, *other.runs)
        theirs = [_metric(run.results.also, result.task, metric.key) for run in runs]
        if any(one is None or one.value is None for one in theirs):
            continue
        title = result.column(metric)
        if not all(one is not None and one.share for one in theirs):
            unpaired.append(title)
        elif (one := _paired(first, other, result, metric, seed)) is not None:
            found.append(one)
    remarks = []
    if unpaired:
        remarks = [f"{', '.join(unpaired)}: no share of items, so there is nothing to pair"]
    return found, remarks


def _metric(also: dict[str, AlsoResult], task: str, key: str) -> AlsoMetric | None:
    metrics = also[task].metrics if task in also else ()
    return next((metric for metric in metrics if metric.key == key), None)


def _paired(
    first: Loaded, other: Loaded, result: AlsoResult, metric: AlsoMetric, seed: int
) -> Paired | None:
    leaves = result.leaves or [result.task]
    sides, groups = _values(first, other, leaves, metric.key)
    whole: list[Values] = [
        {f"{leaf}/{item}": one for leaf in leaves for item, one in side[leaf].items()}
        for side in sides
    ]
    if not whole[0].keys() & whole[1].keys():
        return None
    column = also_column(result, metric)
    if metric.weighted:
        known = {f"{leaf}/{item}": group for leaf in leaves for item, group in groups[leaf].items()}
        tally = pooled(whole, known if known.keys() >= whole[0].keys() else None)
        [drawn] = draw_tasks({column.key: tally}, seed).values()
        return Paired(column, 100 * tally.means, drawn, tally, seed)
    tallies = {
        f"{column.key}/{leaf}": pooled([side[leaf] for side in sides])
        for leaf in leaves
        if sides[0][leaf].keys() & sides[1][leaf].keys()
    }
    scores = np.mean([100 * tally.means for tally in tallies.values()], axis=0)
    drawn = mean_of(list(draw_tasks(tallies, seed).values()))
    step = step_of_mean([100 / tally.groups for tally in tallies.values()])
    return Paired(column, scores, drawn, None, seed, step=step)


def _values(
    first: Loaded, other: Loaded, leaves: Sequence[str], metric: str
) -> tuple[list[dict[str, Values]], dict[str, dict[str, str]]]:
    """Of each model, by task and item, what its runs found; and the groups that items come in."""
    sides: list[dict[str, Values]] = []
    groups: dict[str, dict[str, str]] = {leaf: {} for leaf in leaves}
    with opened((*first.runs, *other.runs)) as stores:
        for model in (first, other):
            side: dict[str, Values] = {leaf: {} for leaf in leaves}
            for run in model.runs:
                for leaf in leaves:
                    for item, value in stores[run.path].outcomes(leaf, metric).items():
                        side[leaf].setdefault(item, []).append(value)
                    groups[leaf] |= item_groups(stores[run.path], leaf) or {}
            sides.append(side)
    return sides, groups
