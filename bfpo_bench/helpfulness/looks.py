"""Means of what reward models and programs have said of a run's responses.

They are columns of their own and never the Alpaca column; :mod:`~.reward` makes the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bfpo_bench.common.statistics import bootstrap_weights, percentiles, wilson
from bfpo_bench.helpfulness.instructions import TASK
from bfpo_bench.helpfulness.length_control import REPLICATES
from bfpo_bench.run.store import Store

CONSTRAINT_MET = "constraint_met"
"""Metric of the mini suite's instructions: 1 where the response meets the constraint."""


@dataclass(frozen=True)
class Look:
    """A mean over a run's responses.

    Attributes:
        metric: under which the store has the values, e.g. ``reward:ArmoRM…:helpsteer-helpfulness``.
        mean: in the unit of the values.
        low, high: 95 % interval: by bootstrap over instructions, Wilson's of a share.
        n: responses.
    """

    metric: str
    mean: float
    low: float
    high: float
    n: int


def stored_looks(run: Path) -> list[Look]:
    """Every such mean that a run holds."""
    with Store(run / "samples.sqlite", read_only=True) as store:
        query = "SELECT DISTINCT metric FROM outcomes WHERE task = ? ORDER BY metric"
        metrics = [metric for (metric,) in store.select(query, TASK)]
        return [make_look(metric, store.outcomes(TASK, metric)) for metric in metrics]


def make_look(metric: str, values: Mapping[str, float]) -> Look:
    """The mean of a metric's values by item."""
    numbers = np.array(list(values.values()))
    mean = float(numbers.mean())
    if metric == CONSTRAINT_MET:
        low, high = wilson(float(numbers.sum()), len(numbers))
        return Look(metric, mean, low / 100, high / 100, len(numbers))
    drawn = bootstrap_weights(len(numbers), REPLICATES) @ numbers / len(numbers)
    return Look(metric, mean, *percentiles(mean, drawn), len(numbers))
