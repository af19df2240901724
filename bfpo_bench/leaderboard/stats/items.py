"""How the items of a task came out in the runs of one model, or of two on what both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bfpo_bench.common.statistics import Tally
from bfpo_bench.leaderboard.columns import ALPACA
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.leaderboard.runs import Run
from bfpo_bench.run.outcomes import item_groups, item_values, item_wins, pooled
from bfpo_bench.run.store import Store
from bfpo_bench.suites import grouped_tasks

Values = dict[str, list[float]]
"""By item, what the runs of a model (seeds) found."""


@contextmanager
def opened(runs: Sequence[Run]) -> Iterator[dict[Path, Store]]:
    """The stores of those runs that have their samples, by run directory."""
    with ExitStack() as stack:
        yield {
            run.path: stack.enter_context(Store(run.samples, read_only=True))
            for run in runs
            if run.samples is not None
        }


def item_tally(
    models: Sequence[Sequence[Run]],
    stores: Mapping[Path, Store],
    task: str,
    share: str | None = None,
) -> tuple[Tally | None, bool]:
    """The tally of a task over the items that all models have, ``[kinds, models]``; None of none.

    Args:
        models: the runs of each, whose values of an item count by their mean.
        share: of a judged task's responses, instead of its score.

    Returns:
        with it, whether the groups that the items come in, if they do, are known.
    """
    sides: list[Values] = []
    for runs in models:
        values: Values = {}
        for run in runs:
            cell = run.results.tasks[task]
            given = item_values(stores[run.path], cell, run.results.judges, share)
            for item, value in given.items():
                values.setdefault(item, []).append(value)
        sides.append(values)
    groups: dict[str, str] | None = {}
    # The same item is the same row, so any run of the first model knows its group.
    for run in models[0]:
        more = item_groups(stores[run.path], task)
        groups = None if groups is None or more is None else groups | more
    common = set.intersection(*map(set, sides))
    known = groups is not None or task not in grouped_tasks()
    return pooled(sides, groups) if common else None, known


def paired_tallies(first: Loaded, other: Loaded, tasks: Sequence[str]) -> dict[str, Tally]:
    """Tallies of two models, ``[kinds, 2]``, over what both have an answer to; none of no item.

    Args:
        tasks: those to pair, besides the preferences of an annotator.
    """
    with opened((*first.runs, *other.runs)) as stores:
        found = {task: item_tally([first.runs, other.runs], stores, task)[0] for task in tasks}
        wins = [_wins(model, stores) for model in (first, other)]
    if wins[0].keys() & wins[1].keys():
        found[ALPACA.key] = pooled(wins)
    return {task: tally for task, tally in found.items() if tally is not None}


def _wins(model: Loaded, stores: Mapping[Path, Store]) -> Values:
    """By instruction: how far the annotator prefers the model's outputs, 0 to 1."""
    found: Values = {}
    for run in model.runs:
        if run.results.helpfulness is not None:
            for item, value in item_wins(stores[run.path], run.results.helpfulness.annotator):
                found.setdefault(item, []).append(value)
    return found
