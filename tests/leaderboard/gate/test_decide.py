"""How often a gate passes and fails: by enumeration where that can be done, else by simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from bfpo_bench.common.statistics import Floats, Tally, resample
from bfpo_bench.leaderboard.columns import CROWS_PAIRS, CROWS_PAIRS_DISTANCE, GEN, Column
from bfpo_bench.leaderboard.differences import from_fifty
from bfpo_bench.leaderboard.gate.decide import (
    Check,
    Drawn,
    above,
    bounds,
    decided,
    improvement,
    inferior,
)
from bfpo_bench.leaderboard.stats.paired import Paired

TASK = Column("task", "Task", "Task", "gen", "higher")


def tally(both: int, baseline: int, candidate: int, neither: int) -> Tally:
    """Items that both, one alone, or neither has right."""
    points = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], float)
    return Tally(np.array([both, baseline, candidate, neither], float), np.ones(4), points)


def of_counts(baseline: int, candidate: int, n: int, neither: int = 0) -> Paired:
    found = tally(n - baseline - candidate - neither, baseline, candidate, neither)
    # An exact test resamples nothing.
    return Paired(TASK, 100 * found.means, np.zeros((1, 2)), found)


def checked(drawn: Drawn, margin: float, n: int | None = None, confidence: float = 0.95) -> Check:
    low, high = bounds(drawn, confidence)
    return Check(
        *("Task", "task", "", False, 0.0, 0.0, -margin, confidence, drawn.value, low, high),
        *(float(np.std(drawn.lower)), n, None, inferior(drawn, -margin, confidence)),
    )


# ------------------------------------------------------------------ one task: enumerated


def passes(n: int, loses: float, gains: float, margin: float, confidence: float = 0.95) -> float:
    """The chance of a pass, over all outcomes of n items that matter.

    The more items the candidate alone has right the better: for each number that the baseline alone
    has right the least that passes is searched for.

    Args:
        loses, gains: true shares of items that the baseline alone, or the candidate, has right.
    """
    found = 0.0
    for b in range(n + 1):
        chance = stats.binom.pmf(b, n, loses)
        if chance < 1e-7:
            continue
        least, most = 0, n - b + 1
        while least < most:
            c = (least + most) // 2
            low, _ = bounds(improvement(of_counts(b, c, n), True), confidence)
            least, most = (least, c) if low > -margin else (c + 1, most)
        found += chance * stats.binom.sf(least - 1, n - b, gains / (1 - loses))
    return float(found)


@pytest.mark.parametrize(
    ("n", "gains", "margin", "confidence"),
    [(60, 0.05, 10, 0.95), (60, 0.0, 10, 0.95), (200, 0.02, 3, 0.95), (200, 0.1, 5, 0.8)],
)
def test_a_candidate_that_is_worse_by_the_margin_passes_no_more_often_than_it_may(
    n: int, gains: float, margin: float, confidence: float
) -> None:
    level = passes(n, gains + margin / 100, gains, margin, confidence)
    assert 0.005 < level <= 1 - confidence


@pytest.mark.parametrize(("n", "share", "margin"), [(100, 0.05, 5.0), (200, 0.02, 3.0)])
def test_the_power_that_is_told_is_the_power_there_is(n: int, share: float, margin: float) -> None:
    """At a true difference of 0 the least margin that is told is passed by 80 % of samples."""
    alone = round(n * share)
    drawn = improvement(of_counts(alone, alone, n), True)
    told = checked(drawn, 1.0, n).told
    assert passes(n, share, share, told) == pytest.approx(0.8, abs=0.02)
    said = checked(drawn, margin, n).power
    assert said == pytest.approx(passes(n, share, share, margin), abs=0.04)


def test_of_many_items_it_is_the_closed_form() -> None:
    """(z of 0.95 + z of 0.8) standard errors; four times the items for half the margin."""
    n, alone = 20_000, 800
    error = 100 * np.sqrt(2 * alone) / n
    check = checked(improvement(of_counts(alone, alone, n), True), 1.0, n)
    assert check.told == pytest.approx((1.64485 + 0.84162) * error, rel=0.03)
    assert check.error == pytest.approx(error, rel=0.02)
    half = checked(improvement(of_counts(alone, alone, n), True), check.told / 2, n)
    assert half.times == pytest.approx(4)
    assert half.power == pytest.approx(stats.norm.cdf(-(1.64485 - 0.84162) / 2), abs=0.02)


def test_a_floor_is_clopper_and_pearsons_bound() -> None:
    for right, n in ((97, 100), (400, 520), (40, 40)):
        paired = of_counts(0, 0, n, neither=n - right)
        low, high = bounds(above(paired, 90.0, True), 0.95)
        exact = stats.binomtest(right, n).proportion_ci(0.9, method="exact")
        assert low + 90 == pytest.approx(100 * exact.low, abs=0.25)
        assert high + 90 == pytest.approx(100 * exact.high, abs=0.25)
        turned = bounds(above(paired, 90.0, False), 0.95)
        assert turned == pytest.approx((-high, -low))


# --------------------------------------------------------------- the others: simulated


def rate(runs: int, passed: Callable[[int, np.random.Generator], bool]) -> float:
    rng = np.random.default_rng(0)
    return sum(passed(run, rng) for run in range(runs)) / runs


def test_an_average_that_is_worse_by_the_margin_passes_no_more_often_than_it_may() -> None:
    """Two tasks near 100 %, all differences against the candidate, where a bootstrap is worst.

    Its own percentiles would pass 6 % (a standard error of 0.6); with an item more they do not.
    """
    tasks = {100: (0.97, 0.03, 0.0, 0.0), 99: (0.96, 0.04, 0.0, 0.0)}
    plain = []

    def passed(run: int, rng: np.random.Generator) -> bool:
        some = [tally(*rng.multinomial(n, shares)) for n, shares in tasks.items()]
        draws = [resample(one, np.random.default_rng([run, i]), 400) for i, one in enumerate(some)]
        scores = np.mean([100 * one.means for one in some], axis=0)
        step = np.mean([100 / n for n in tasks]) / 2
        paired = Paired(GEN, scores, np.mean(draws, axis=0), step=float(step))
        plain.append(np.quantile(paired.ends[0], 0.05) > -3.5)
        return bounds(improvement(paired, True), 0.95)[0] > -3.5

    assert 0.005 < rate(1_500, passed) <= 0.05
    assert 0.05 < np.mean(plain) < 0.08


@pytest.mark.parametrize("baseline", [50.0, 51.0, 60.0])
def test_nearness_to_50_passes_no_more_often_than_it_may_at_the_bend(baseline: float) -> None:
    """A baseline at 50 seems farther from it than it is, so a candidate would seem less bad."""
    error, margin = 2.0, 3.0
    truth = np.array([baseline, baseline + margin])
    noise = np.random.default_rng(1).normal(0, error, (2_000, 2))
    naive = []

    def passed(_: int, rng: np.random.Generator) -> bool:
        scores = truth + rng.normal(0, error, 2)
        drawn = scores + noise
        far = abs(drawn - 50)
        naive.append(np.quantile(far[:, 0] - far[:, 1], 0.05) > -margin)
        paired = from_fifty(Paired(CROWS_PAIRS, scores, drawn), CROWS_PAIRS_DISTANCE)
        return bounds(improvement(paired, False), 0.95)[0] > -margin

    found = rate(1_500, passed)
    assert found <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1_500)
    if baseline == 50:
        assert np.mean(naive) > 0.08
    if baseline == 60:
        assert found > 0.03


# ------------------------------------------------------------------------- decisions


def drawn_at(value: float, error: float = 0.5) -> Drawn:
    spread: Floats = value + error * stats.norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    return Drawn(value, spread, spread)


def test_bounds_and_outcomes_are_one_test() -> None:
    """Passing and failing change where a bound crosses −margin: at 1.645 standard errors."""
    low, high = bounds(drawn_at(0.0), 0.95)
    assert (low, high) == pytest.approx((-0.5 * 1.645, 0.5 * 1.645), abs=0.002)
    edges = {-0.17: "pass", -0.18: "undecided", -1.82: "undecided", -1.83: "fail"}
    for value, outcome in edges.items():
        [found] = decided([checked(drawn_at(value), 1.0)])
        assert found.outcome == outcome, value


def test_of_many_checks_one_that_fails_by_chance_does_not_fail() -> None:
    """Holm: p = 0.034 alone, and 0.17 as the smallest of five; 0.0002 is enough among five."""
    close, far = checked(drawn_at(-1.91), 1.0), checked(drawn_at(-2.8), 1.0)
    alike = [checked(drawn_at(0.0), 1.0)] * 4
    assert decided([close])[0].outcome == "fail"
    first, *others = decided([close, *alike])
    assert (first.outcome, first.alone) == ("undecided", True)
    assert {one.outcome for one in others} == {"pass"}
    assert decided([far, *alike])[0].outcome == "fail"
    # A step down: once the surest has failed, the next one has one check fewer beside it.
    assert [one.outcome for one in decided([far, close])] == ["fail", "fail"]


def test_a_margin_of_0_is_for_what_is_better() -> None:
    [better] = decided([checked(drawn_at(1.0), 0.0)])
    [same] = decided([checked(drawn_at(0.0), 0.0)])
    assert (better.outcome, same.outcome) == ("pass", "undecided")
    assert same.power == pytest.approx(0.05, abs=0.001)
    assert same.times == float("inf")
