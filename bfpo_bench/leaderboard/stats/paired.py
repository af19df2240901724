"""Paired statistics of two models: interval, p-value and detectable size of a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from bfpo_bench.common.statistics import CONFIDENCE, Floats, Tally, percentiles

POWER = 0.8
Verdict = Literal["differs", "alike", "open"]


@dataclass(frozen=True)
class Difference:
    """How far the other model is from the first in one column.

    Attributes:
        column: title.
        group: ``"average"``, ``"disc"``, ``"gen"`` or ``"helpfulness"``.
        first, other: their scores in percent, on the common items.
        value, low, high: other − first with its paired 95 % interval, in percentage points.
        n: common items; None for an average.
        p: of no difference; ``holm``: corrected for all averages, or all tasks, of the comparison.
        test: ``"McNemar"`` or ``"bootstrap"``.
        detectable: the smallest true difference that a test at 5 % on these items would find in
            four of five cases, in percentage points.
        verdict: ``"differs"``: by the corrected p below 5 %; ``"alike"``: the interval lies within
            the margin; ``"open"``: neither.
    """

    column: str
    group: str
    first: float
    other: float
    value: float
    low: float
    high: float
    n: int | None
    p: float
    holm: float
    test: str
    detectable: float
    verdict: Verdict


def difference(
    title: str, group: str, scores: Floats, drawn: Floats, tally: Tally | None = None
) -> Difference:
    """One column's difference, not yet corrected for others.

    Args:
        scores: of the two models in percent, ``[2]``.
        drawn: the same resampled, ``[resamples, 2]``.
        tally: of a task, None for an average.
    """
    value = float(scores[1] - scores[0])
    differences = drawn[:, 1] - drawn[:, 0]
    low, high = percentiles(value, differences)
    p, test = _bootstrap_p(differences), "bootstrap"
    if tally is not None and tally.single:
        only = [float(tally.counts[(tally.points == which).all(axis=1)].sum())
                for which in ((1, 0), (0, 1))]  # fmt: skip
        p, test = mcnemar(int(only[0]), int(only[1])), "McNemar"
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) + NormalDist().inv_cdf(POWER)
    return Difference(
        column=title,
        group=group,
        first=float(scores[0]),
        other=float(scores[1]),
        value=value,
        low=low,
        high=high,
        n=tally.items if tally is not None else None,
        p=p,
        holm=p,
        test=test,
        detectable=z * float(np.std(differences)),
        verdict="open",
    )


def _bootstrap_p(differences: Floats) -> float:
    """Twice the smaller share of resampled differences on one side of 0; 2 / (R + 1) at least."""
    below = int((differences <= 0).sum())
    above = int((differences >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1))


def signed(value: float) -> str:
    """A difference to two decimals with its sign; 0.00 has none."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method, in the order given."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    found, highest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        found[i] = highest
    return found


def mcnemar(only_first: int, only_other: int) -> float:
    """McNemar's exact two-sided p-value from the items that only one of two models has right."""
    n, fewer = only_first + only_other, min(only_first, only_other)
    whole = math.lgamma(n + 1) - n * math.log(2)
    terms = (
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(terms))


def settled(difference: Difference, corrected: float, margin: float) -> Difference:
    """The difference with its corrected p-value, and the verdict that follows.

    Args:
        margin: an interval within so many points of 0 is ``"alike"``.
    """
    verdict: Verdict = "open"
    if corrected < 1 - CONFIDENCE:
        verdict = "differs"
    elif -margin <= difference.low and difference.high <= margin:
        verdict = "alike"
    return replace(difference, holm=corrected, verdict=verdict)
