"""AlpacaEval 2's metrics over one model's annotations, and means without an annotator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bfpo_bench.common.statistics import (
    Spread,
    Tally,
    bootstrap_weights,
    draw_tasks,
    percentiles,
    spread,
    tally_items,
    wilson,
)
from bfpo_bench.helpfulness.annotation import TASK, TIE, Annotation
from bfpo_bench.helpfulness.length_control import (
    FOLDS,
    REPLICATES,
    Comparisons,
    Floats,
    bootstrap_length_control,
    fit_length_control,
)
from bfpo_bench.helpfulness.upstream import Upstream
from bfpo_bench.run.results import HelpfulnessResult
from bfpo_bench.run.store import Store

_NO_WIDTH = 0.005
"""Percentage points; a narrower interval has two ends that print alike."""


def win_rate(preferences: Sequence[float | None]) -> tuple[float, float | None]:
    """Mean win rate over the usable preferences and its standard error, in percent.

    Args:
        preferences: 1 (the reference wins) to 2 (the model wins).

    Raises:
        ValueError: none is usable.
    """
    values = [100 * (p - 1) for p in preferences if p is not None]
    if not values:
        raise ValueError("no usable preference")
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def discrete_win_rate(preferences: Sequence[float | None]) -> float:
    """The same with every preference rounded to a win, a loss or, at exactly 1.5, a draw.

    Raises:
        ValueError: none is usable.
    """
    values = [p if p == TIE else float(round(p)) for p in preferences if p is not None]
    return win_rate(values)[0]


def mean_length(outputs: Sequence[str]) -> float:
    """Mean length in characters; AlpacaEval prints its whole part."""
    return math.fsum(map(len, outputs)) / len(outputs)


def comparisons(annotations: Sequence[Annotation], upstream: Upstream) -> Comparisons:
    """What the length-control fit needs, in the order of the annotations."""
    preference = [math.nan if a.preference is None else a.preference - 1 for a in annotations]
    difference = [len(a.output_1) - len(a.output_2) for a in annotations]
    known = [upstream.difficulty.get(a.instruction) for a in annotations]
    difficulty = None if None in known else np.array(known, dtype=float)
    return Comparisons(np.array(preference), np.array(difference, dtype=float), difficulty)


def measure(
    annotations: Sequence[Annotation],
    upstream: Upstream,
    seed: int = 0,
    intervals: bool = True,
) -> HelpfulnessResult:
    """All metrics of one model's annotations by one annotator against one reference.

    Args:
        annotations: one for each instruction; at least one.
        upstream: what could be had of AlpacaEval's files.
        seed: of the bootstrap.
        intervals: without them it takes a tenth of the time.

    Raises:
        BadInput: published weights that the user named are of other annotations.
    """
    count, preferences = len(annotations), [a.preference for a in annotations]
    failed = preferences.count(None)
    found = HelpfulnessResult(
        annotator=annotations[0].annotator,
        reference=annotations[0].generator_1,
        n=count,
        failed=failed,
        mean_length=mean_length([a.output_2 for a in annotations]),
    )
    if failed == count:
        return replace(found, notes=[f"none of the {count} annotations is usable"])
    mean, error = win_rate(preferences)
    notes = []
    if failed:
        notes.append(
            f"{failed} of {count} annotations are not usable and are left out of the win rates, as "
            f"upstream does; counted as losses they would make it {mean * (1 - failed / count):.2f}"
        )
    rows = comparisons(annotations, upstream)
    found = replace(
        found,
        win_rate=mean,
        standard_error=error,
        discrete_win_rate=discrete_win_rate(preferences),
    )
    if intervals:
        sure = _win_spread(preferences, seed)
        found = replace(found, win_low=sure.low, win_high=sure.high)
    if count - failed < 2 * FOLDS:
        notes.append(f"{count - failed} usable annotations are too few for length control")
        return replace(found, notes=notes)
    with_difficulty = rows.difficulty is not None
    gamed = upstream.gamed if with_difficulty else None
    fit = fit_length_control(rows, gamed)
    interval = (fit.win_rate, fit.win_rate)
    if intervals:
        weights = bootstrap_weights(count, REPLICATES, seed)
        interval = percentiles(fit.win_rate, bootstrap_length_control(rows, gamed, fit, weights))
    has_width = interval[1] - interval[0] > _NO_WIDTH
    if intervals and not has_width:
        notes.append(
            "no instruction came out differently enough for an interval of the length-controlled "
            "win rate"
        )
    published, doubts = upstream.published(annotations[0], rows, mean)
    return replace(
        found,
        lc_win_rate=fit.win_rate,
        lc_low=interval[0] if has_width else None,
        lc_high=interval[1] if has_width else None,
        lc_model=upstream.fitted(with_difficulty),
        lc_published=published,
        notes=notes + upstream.notes(found.annotator, with_difficulty) + doubts,
    )


def win_tally(sides: Sequence[Sequence[float | None]]) -> Tally:
    """Wins (0 to 1) of one or several models over what all of them have a usable preference on.

    Args:
        sides: preferences (1 to 2) of each model, in one order of instructions.
    """
    rows = [[p - 1 for p in row if p is not None] for row in zip(*sides, strict=True)]
    return tally_items([row for row in rows if len(row) == len(sides)])


def win_draws(tally: Tally, seed: int = 0) -> Floats:
    """Its resampled win rates in percent, ``[resamples, models]``: those of the leaderboard."""
    return draw_tasks({"alpaca": tally}, seed)["alpaca"]


def _win_spread(preferences: Sequence[float | None], seed: int) -> Spread:
    """The leaderboard's, whose prior gives 805 losses of 805 an interval, too."""
    tally = win_tally([preferences])
    return spread(tally, win_draws(tally, seed)[:, 0])


# ---------------------------------------------------- means of what reward models and programs say

CONSTRAINT_MET = "constraint_met"
"""Metric of the mini suite's instructions: 1 where the response meets the constraint."""


@dataclass(frozen=True)
class MeanMetric:
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


def stored_means(run: Path) -> list[MeanMetric]:
    """Every such mean that a run holds."""
    with Store(run / "samples.sqlite", read_only=True) as store:
        query = "SELECT DISTINCT metric FROM outcomes WHERE task = ? ORDER BY metric"
        metrics = [metric for (metric,) in store.select(query, TASK)]
        return [mean_metric(metric, store.outcomes(TASK, metric)) for metric in metrics]


def mean_metric(metric: str, values: Mapping[str, float]) -> MeanMetric:
    """The mean of a metric's values by item."""
    numbers = np.array(list(values.values()))
    mean = float(numbers.mean())
    if metric == CONSTRAINT_MET:
        low, high = wilson(float(numbers.sum()), len(numbers))
        return MeanMetric(metric, mean, low / 100, high / 100, len(numbers))
    drawn = bootstrap_weights(len(numbers), REPLICATES) @ numbers / len(numbers)
    return MeanMetric(metric, mean, *percentiles(mean, drawn), len(numbers))
