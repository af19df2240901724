"""The items that two models have both answered, as tallies of how they came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bfpo_bench.common.statistics import Tally
from bfpo_bench.leaderboard.columns import ALPACA
from bfpo_bench.leaderboard.load import Loaded
from bfpo_bench.run.outcomes import item_groups, item_values, item_wins, pooled
from bfpo_bench.run.store import Store


def paired_tallies(first: Loaded, other: Loaded, tasks: Sequence[str]) -> dict[str, Tally]:
    """Tallies of two models, ``[kinds, 2]``, over what both have an answer to; none of no item.

    Args:
        tasks: those to pair, besides the preferences of an annotator.
    """
    found = {}
    with ExitStack() as stack:
        stores = {
            run.path: stack.enter_context(Store(run.samples, read_only=True))
            for run in (*first.runs, *other.runs)
            if run.samples is not None
        }
        for task in tasks:
            sides = []
            for model in (first, other):
                values: dict[str, list[float]] = {}
                for run in model.runs:
                    cell = run.results.tasks[task]
                    given = item_values(stores[run.path], cell, run.judge)
                    for item, value in given.items():
                        values.setdefault(item, []).append(value)
                sides.append(values)
            # The same item is the same row, so any run of the first model knows its group.
            groups: dict[str, str] = {}
            for run in first.runs:
                groups |= item_groups(stores[run.path], task) or {}
            if sides[0].keys() & sides[1].keys():
                found[task] = pooled(sides, groups or None)
        wins = [_wins(model, stores) for model in (first, other)]
        if wins[0].keys() & wins[1].keys():
            found[ALPACA.key] = pooled(wins)
    return found


def _wins(model: Loaded, stores: Mapping[Path, Store]) -> dict[str, list[float]]:
    """By instruction: how far the annotator prefers the model's outputs, 0 to 1."""
    found: dict[str, list[float]] = {}
    for run in model.runs:
        if run.results.helpfulness is not None:
            for item, value in item_wins(stores[run.path], run.results.helpfulness.annotator):
                found.setdefault(item, []).append(value)
    return found
