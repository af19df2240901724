"""Cells and averages with standard errors and intervals, from a run's answers.

The same tallies, draws and seed as the leaderboard's, so that a number has one interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bfpo_bench.intervals import Floats, draw_tasks, mean_of, percentiles, spread
from bfpo_bench.results import Average, TaskResult, averages, without_verdicts
from bfpo_bench.store import Store
from bfpo_bench.suite import SuiteTask
from bfpo_bench.tallies import tallies_of


def with_uncertainty(
    tasks: Mapping[str, TaskResult], suite: Sequence[SuiteTask], store: Store
) -> tuple[dict[str, TaskResult], dict[str, Average]]:
    """Every cell with its standard error and interval, and the averages of the cells with theirs.

    Args:
        tasks: cells by task; their scores are taken as they are.
        suite: every task that the averages are taken over.
        store: the answers that the scores are of.
    """
    cells = {name: without_verdicts(cell) for name, cell in tasks.items()}
    tallies, _ = tallies_of(store, cells.values())
    drawn = {name: values[:, 0] for name, values in draw_tasks(tallies).items()}
    for name, tally in tallies.items():
        sure = spread(tally, drawn[name])
        cells[name] = replace(cells[name], stderr=sure.stderr, low=sure.low, high=sure.high)
    means = averages(cells, suite)
    for key, values in draws_of_averages(cells, drawn).items():
        mean = means[key]
        if mean.value is not None:
            low, high = percentiles(mean.value, values)
            means[key] = replace(mean, low=low, high=high)
    return cells, means


def draws_of_averages(
    tasks: Mapping[str, TaskResult], drawn: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Draws of Disc., Gen. and Savg. from those of their tasks, as far as there are any."""
    parts: dict[str, list[Floats]] = {}
    for name, values in drawn.items():
        parts.setdefault(tasks[name].group, []).append(values)
    found = {group: mean_of(values) for group, values in parts.items()}
    if found.keys() == {"disc", "gen"}:
        found["savg"] = mean_of(list(found.values()))
    return found
