"""Cells and averages with standard errors and intervals, from a run's answers.

The same tallies, draws and seed as the leaderboard's, so that a number has one interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bfpo_bench.common.statistics import Floats, draw_tasks, mean_of, percentiles, spread, wilson
from bfpo_bench.run.average import Average
from bfpo_bench.run.outcomes import tallies_of
from bfpo_bench.run.results import TaskResult, without_verdicts
from bfpo_bench.run.shares import SHARES
from bfpo_bench.run.store import Store
from bfpo_bench.suites import AVERAGED, SuiteTask

PAPER = ("disc", "gen")
"""The groups of the paper; Savg. is their mean."""


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
    for name, cell in cells.items():
        if cell.enough is not None:
            known = cell.enough.known(cell.score, cell.n, cell.items)
            cell = cells[name] = replace(cell, enough=known)
        if cell.judged:
            shares = {share: cell.metrics[share] for share in SHARES if share in cell.metrics}
            ends = {share: wilson(round(p * cell.n), cell.n) for share, p in shares.items()}
            cells[name] = replace(cell, intervals={share: list(two) for share, two in ends.items()})
    means = averages(cells, suite)
    for key, values in draws_of_averages(cells, drawn).items():
        mean = means[key]
        if mean.value is not None:
            low, high = percentiles(mean.value, values)
            means[key] = replace(mean, low=low, high=high)
    return cells, means


def averages(tasks: Mapping[str, TaskResult], suite: Sequence[SuiteTask]) -> dict[str, Average]:
    """The averages with standard errors; tasks are independent samples.

    Args:
        tasks: results at hand, by task name.
        suite: every task that the averages are taken over.
    """
    found: dict[str, Average] = {}
    for group in AVERAGED:
        wanted = [t for t in suite if t.group == group]
        if not wanted and group not in PAPER:
            continue
        cells = {t.task: tasks.get(t.task) for t in wanted}
        scores = [c.score for c in cells.values() if c is not None and c.score is not None]
        if len(scores) < len(wanted) or not wanted:
            missing = [t.column for t in wanted if (c := cells[t.task]) is None or c.score is None]
            found[group] = Average(None, None, missing)
            continue
        errors = [c.stderr for c in cells.values() if c is not None]
        found[group] = Average(math.fsum(scores) / len(scores), _error_of_mean(errors))
    disc, gen = found["disc"], found["gen"]
    if disc.value is None or gen.value is None:
        found["savg"] = Average(None, None, disc.missing + gen.missing)
    else:
        error = _error_of_mean([disc.stderr, gen.stderr])
        found["savg"] = Average((disc.value + gen.value) / 2, error)
    return found


def _error_of_mean(errors: Sequence[float | None]) -> float | None:
    known = [e for e in errors if e is not None]
    if len(known) < len(errors):
        return None
    return math.sqrt(math.fsum(e * e for e in known)) / len(known)


def draws_of_averages(
    tasks: Mapping[str, TaskResult], drawn: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Draws of the averages from those of their tasks, as far as there are any."""
    parts: dict[str, list[Floats]] = {}
    for name, values in drawn.items():
        if tasks[name].group in AVERAGED:
            parts.setdefault(tasks[name].group, []).append(values)
    found = {group: mean_of(values) for group, values in parts.items()}
    if found.keys() >= set(PAPER):
        found["savg"] = mean_of([found[group] for group in PAPER])
    return found
