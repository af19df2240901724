"""Non-inferiority: is a candidate at most so much worse than a baseline?

The paired difference, counted so that more is better, has a lower and an upper bound, each
one-sided (:mod:`bfpo_bench.leaderboard.stats.paired` says how they are drawn). It passes where the
lower one lies above −margin, and fails where the upper one lies below it, so that the candidate is
shown to be worse by more than the margin; else the sample cannot tell.

Of several columns all have to pass. That is an intersection-union test: its level is that of each
test without a correction (Berger 1982, Technometrics 24). One failure is enough to fail, so there
chance has as many occasions as there are columns, and failures are corrected by Holm: a column
fails by mistake in at most 1 − confidence of cases (of the lowest one, where there are several).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from bfpo_bench.common.statistics import RESAMPLES, Floats
from bfpo_bench.leaderboard.stats.paired import POWER, Paired, holm

Outcome = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True)
class Check:
    """One thing that is asked of a column.

    Attributes:
        column: its title; ``key`` is its name in programs.
        asked: in words.
        floor: whether the candidate's own score is held against a floor or ceiling.
        baseline, candidate: scores in percent.
        bar: 0 for a floor or ceiling, −margin for a comparison with the baseline.
        value: by how many points the candidate is better: than the baseline, or the floor.
        low, high: its one-sided bounds, each at ``confidence``.
        error: standard error of the value.
        n: items; None for an average of several tasks. ``whole``: how many the task has.
        inferior: p-value of not being below the bar, divided by 1 − confidence.
    """

    column: str
    key: str
    asked: str
    floor: bool
    baseline: float
    candidate: float
    bar: float
    confidence: float
    value: float
    low: float
    high: float
    error: float
    n: int | None
    whole: int | None
    inferior: float
    outcome: Outcome = "undecided"

    @property
    def name(self) -> str:
        """Its column; of a floor with what it is, to tell it from the comparison."""
        return f"{self.column} {self.asked}" if self.floor else self.column

    @property
    def told(self) -> float:
        """The least margin that such a sample tells with power 80 % where there is no difference.

        Of many items (z of the confidence + z of the power) standard errors: Chow, Shao and Wang
        (2008, Sample Size Calculations in Clinical Research), for the bound that is used here.
        """
        return self.value - self.low + NormalDist().inv_cdf(POWER) * self.error

    @property
    def power(self) -> float:
        """How often such a sample passes a candidate that is exactly as good as the baseline."""
        room = -self.bar - (self.value - self.low)
        return NormalDist().cdf(room / self.error) if self.error else float(room > 0)

    @property
    def times(self) -> float:
        """How many times the items would tell this margin with that power; infinite for 0."""
        return (self.told / self.bar) ** 2 if self.bar else math.inf

    @property
    def alone(self) -> bool:
        """Whether it would fail if nothing else were asked."""
        return self.high < self.bar


@dataclass(frozen=True)
class Drawn:
    """What is held against a bar: a value, and draws for its lower and its upper bound."""

    value: float
    lower: Floats
    upper: Floats

    def turned(self) -> Drawn:
        """The same of what is the better the lower it is."""
        return Drawn(0.0 - self.value, -self.upper, -self.lower)


def improvement(paired: Paired, higher: bool) -> Drawn:
    """By how much the other model is better than the first.

    Args:
        higher: whether more of it is better.
    """
    found = Drawn(paired.value, *paired.ends)
    if paired.alone is None:
        found = _guarded(found, paired.one_more)
    return found if higher else found.turned()


def above(paired: Paired, level: float, higher: bool) -> Drawn:
    """By how much the other model's own score is better than a level, both in percent.

    Of single items that are right or wrong by Clopper and Pearson's bounds.
    """
    score, drawn = float(paired.scores[1]) - level, paired.drawn[:, 1] - level
    if paired.tally is not None and paired.tally.single:
        right, n = int(paired.tally.counts @ paired.tally.points[:, 1]), paired.tally.items
        rng = np.random.default_rng([paired.seed, right, n])
        lower, upper = (
            100 * np.asarray(rng.beta(a, b, RESAMPLES)) if a and b else np.full(RESAMPLES, end)
            for a, b, end in ((right, n - right + 1, 0.0), (right + 1, n - right, 100.0))
        )
        found = Drawn(score, lower - level, upper - level)
    else:
        found = _guarded(Drawn(score, drawn, drawn), paired.one_more)
    return found if higher else found.turned()


def _guarded(drawn: Drawn, one_more: float) -> Drawn:
    """Draws of a bootstrap, with one item more that speaks against what a bound would show.

    As in the exact test. Without it a bound of few items holds less often than it says: the
    bootstrap's prior draws differences towards 0, and its percentiles know no skewness.
    """
    lower = drawn.lower - max(0.0, float(drawn.lower.mean()) - drawn.value) - one_more
    upper = drawn.upper + max(0.0, drawn.value - float(drawn.upper.mean())) + one_more
    return Drawn(drawn.value, lower, upper)


def bounds(drawn: Drawn, confidence: float) -> tuple[float, float]:
    """The lower and the upper bound, each one-sided at this confidence; the value lies between."""
    place = math.ceil(round(confidence * (len(drawn.lower) + 1), 6)) - 1
    low = -float(np.sort(-drawn.lower)[place])
    high = float(np.sort(drawn.upper)[place])
    return min(low, drawn.value), max(high, drawn.value)


def inferior(drawn: Drawn, bar: float, confidence: float) -> float:
    """The p-value of not lying below the bar, divided by 1 − confidence."""
    beyond = int((drawn.upper >= bar).sum()) + 1
    return beyond / (len(drawn.upper) + 1) / round(1 - confidence, 9)


def decided(checks: Sequence[Check]) -> tuple[Check, ...]:
    """The checks with their outcomes."""
    corrected = holm([check.inferior for check in checks])
    return tuple(
        replace(check, outcome=_outcome(check, ratio))
        for check, ratio in zip(checks, corrected, strict=True)
    )


def _outcome(check: Check, corrected: float) -> Outcome:
    if check.low > check.bar:
        return "pass"
    return "fail" if check.alone and corrected < 1 else "undecided"
