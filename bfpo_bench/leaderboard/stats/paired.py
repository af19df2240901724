"""Paired statistics of two models: interval, p-value and detectable size of a difference.

A difference has one test, and its interval is made by that test: it leaves out 0 where the p-value
is below 5 %, and nowhere else. For single items that are right or wrong the test is McNemar's exact
one (1947) of the b and c items that one model alone has right. Its p-value for b < c is
2 · P(Beta(c, b + 1) ≤ ½): the chance of draws below 0 where one item more speaks against the
difference. So the lower end is drawn with one item more that the first model alone has right, and
the upper end with one for the other model, as Clopper and Pearson (1934) do for one proportion and
Fay and Lumbard (2021, Statistics in Medicine 40) for this difference. All else (averages, groups,
preferences) is tested by where its resampled differences lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Literal

import numpy as np

from bfpo_bench.common.statistics import CONFIDENCE, RESAMPLES, Floats, Tally
from bfpo_bench.leaderboard.columns import Column

POWER = 0.8
ALPHA = round(1 - CONFIDENCE, 9)
Verdict = Literal["differs", "alone", "alike", "open"]


@dataclass(frozen=True)
class Paired:
    """Two models in one column, on the items that both have, before anything is said of it.

    Attributes:
        scores: of the two models in percent, ``[2]``.
        drawn: the same resampled, ``[resamples, 2]``.
        tally: of the items, None for an average of several tasks.
        seed: of the draws for an exact test.
        own_ends: see `ends`; None where they follow from the rest.
        step: of what has no tally, see `one_more`.
    """

    column: Column
    scores: Floats
    drawn: Floats
    tally: Tally | None = None
    seed: int = 0
    own_ends: tuple[Floats, Floats] | None = None
    step: float = 0.0

    @property
    def value(self) -> float:
        """Other − first, in percentage points."""
        # Sums in another order are no difference.
        return round(float(self.scores[1] - self.scores[0]), 9)

    @property
    def alone(self) -> tuple[int, int] | None:
        """Items that only the first, and only the other, has right; None without an exact test."""
        if self.tally is None or not self.tally.single:
            return None
        counts, points = self.tally.counts, self.tally.points
        one, two = (int(counts[(points == which).all(axis=1)].sum()) for which in ((1, 0), (0, 1)))
        return one, two

    @property
    def one_more(self) -> float:
        """Points that one more item, or group of items, would change; of an average one in all."""
        return self.step if self.tally is None else 100 / self.tally.groups

    @cached_property
    def ends(self) -> tuple[Floats, Floats]:
        """Differences drawn for an interval's lower end, and for its upper one, ``[resamples]``."""
        if self.own_ends is not None:
            return self.own_ends
        if self.alone is not None and self.tally is not None:
            return _exact_draws(*self.alone, self.tally.items, self.seed)
        differences = np.round(self.drawn[:, 1] - self.drawn[:, 0], 9)
        return differences, differences


@dataclass(frozen=True)
class Difference:
    """How far the other model is from the first in one column.

    Attributes:
        column: title.
        group: ``"average"``, a task's, ``"helpfulness"``, ``"verdict"`` (the one that is not its
            task's score) or ``"also"``.
        first, other: their scores in percent, on the common items.
        value, low, high: other − first with its paired 95 % interval, in percentage points.
        n: common items; None for an average of several tasks.
        p: of no difference; below 5 % where the interval leaves out 0, and nowhere else.
        holm: p corrected for all averages, or all tasks, of the comparison.
        test: ``"McNemar"`` or ``"bootstrap"``.
        detectable: the smallest true difference that a test at 5 % on these items would find in
            four of five cases, in percentage points.
        verdict: ``"differs"``: the corrected p is below 5 %; ``"alone"``: only p itself is;
            ``"alike"``: neither is, and the interval lies within the margin; ``"open"``: all else.
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


def step_of_mean(steps: Sequence[float]) -> float:
    """What one more item in all its parts would change a mean by, from what one changes each by."""
    return sum(steps) / len(steps) ** 2


def difference(paired: Paired) -> Difference:
    """One column's difference, not yet corrected for others."""
    value, tally = paired.value, paired.tally
    lower, upper = paired.ends
    if paired.alone is not None:
        p, test = mcnemar(*paired.alone), "McNemar"
    else:
        p, test = _bootstrap_p(value, lower), "bootstrap"
    low = min(value, _low_end(lower, p < ALPHA and value > 0))
    high = max(value, -_low_end(-upper, p < ALPHA and value < 0))
    sure, found = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), NormalDist().inv_cdf(POWER)
    return Difference(
        column=paired.column.title,
        group=paired.column.group,
        first=float(paired.scores[0]),
        other=float(paired.scores[1]),
        value=value,
        low=low,
        high=high,
        n=tally.items if tally is not None else None,
        p=p,
        holm=p,
        test=test,
        # Of the interval's own standard error, 1 / 1.96 of its half; of all points at most.
        detectable=min(100.0, (high - low) / 2 * (1 + found / sure)),
        verdict="open",
    )


def _exact_draws(first: int, other: int, items: int, seed: int) -> tuple[Floats, Floats]:
    """Differences drawn with one item more for the first model, and with one more for the other.

    Args:
        first, other: items that only this one has right.
        items: in all.
    """
    rng = np.random.default_rng([seed, first, other, items])
    shapes = (first, other, items - first - other, 1)
    a, b, alike, more = rng.standard_gamma(shapes, (RESAMPLES, len(shapes))).T
    whole = (a + b + alike + more) / 100
    return np.round((b - a - more) / whole, 9), np.round((b + more - a) / whole, 9)


def _low_end(drawn: Floats, above: bool) -> float:
    """The lower end of the middle 95 %; above 0 if, and only if, the test says so.

    The share of draws below 0 is the test's p-value, of an exact one to within a draw's luck.
    """
    ordered = np.sort(drawn)
    end = float(ordered[int(len(ordered) * ALPHA / 2)])
    if not above:
        return min(end, 0.0)
    return end if end > 0 else float(ordered[ordered > 0][0])


def _bootstrap_p(value: float, differences: Floats) -> float:
    """Twice the share of resampled differences on the other side of 0; 2 / (R + 1) at least."""
    if value == 0:
        return 1.0
    beyond = int((differences * np.sign(value) <= 0).sum())
    return min(1.0, 2 * (beyond + 1) / (len(differences) + 1))


def signed(value: float) -> str:
    """A difference to two decimals with its sign; 0.00 has none."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text


def end_text(value: float) -> str:
    """An end of an interval; one beside 0 does not print as 0.00."""
    return signed(value) if abs(value) >= 0.005 or value == 0 else f"{value:+.1g}"


def p_text(p: float) -> str:
    """A p-value to three decimals, ``<.001`` below that; one below 5 % does not print as 0.050."""
    if p < 0.001:
        return "<.001"
    return "<.05" if p < ALPHA and round(p, 3) >= ALPHA else f"{p:.3f}"


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
    # scipy.stats has no test that a command could wait for: importing it takes 1.5 s.
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(only_first, only_other), only_first + only_other, 0.5)))


def settled(difference: Difference, corrected: float, margin: float) -> Difference:
    """The difference with its corrected p-value, and the verdict that follows.

    Args:
        margin: an interval around 0 within so many points of it is ``"alike"``.
    """
    verdict: Verdict = "open"
    if corrected < ALPHA:
        verdict = "differs"
    elif difference.p < ALPHA:
        verdict = "alone"
    elif -margin <= difference.low and difference.high <= margin:
        verdict = "alike"
    return replace(difference, holm=corrected, verdict=verdict)
